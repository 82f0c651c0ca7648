"""Test the recommendations of models for a machine, without torch."""

import dataclasses

import pytest

from artgen.jobs import recommend as recommending
from artgen.jobs.model_recommendation import reason
from artgen.jobs.recommend import Machine, Recommendation, recommend
from artgen.registry import catalog
from artgen.registry.memory import estimate_catalog_memory, estimate_memory
from artgen.registry.resolve import find_local_model
from artgen.spec import memory_budget

GIB = 1 << 30


def gpu(gib: float, *, ram: int | None = None, disk: int | None = None) -> Machine:
    return Machine("cuda", round(gib * GIB), ram, disk, 8)


def names(results: list[Recommendation]) -> list[str]:
    return [each.info.name for each in results]


@pytest.mark.parametrize("gib", [2, 4, 8, 12, 16, 24, 48, 80])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint", "sample"])
def test_each_recommended_model_supports_the_task_and_fits(task: str, gib: int) -> None:
    results = recommend(gpu(gib), task)
    for each in results:
        assert each.plan.required_bytes <= gib * GIB
        assert recommending.supports_task(each.info, task)
        assert f"-m {each.info.name}" in each.command
        assert ("--offload" in each.command) == (each.plan.offload != "none")
        assert "None" not in reason(each, gpu(gib))
    assert [each.rank for each in results] == sorted((each.rank for each in results), reverse=True)


def test_more_memory_adds_models_and_removes_none() -> None:
    previous: set[str] = set()
    for gib in (2, 4, 8, 16, 24, 48, 80, 200):
        found = set(names(recommend(gpu(gib))))
        assert previous <= found
        previous = found


def test_a_large_gpu_gets_larger_models_than_a_small_gpu() -> None:
    small, large = names(recommend(gpu(8)))[:5], names(recommend(gpu(80)))[:5]

    def parameters(found: list[str]) -> int:
        return min(sum(catalog.builtin_models()[name].parameters.values()) for name in found)

    assert parameters(large) > 2 * parameters(small)


def test_distilled_models_come_first_on_a_slow_cpu() -> None:
    machine = Machine("cpu", 16 * GIB, 16 * GIB, None, 2)
    best = recommend(machine)[0]
    assert best.info.steps is not None
    assert best.info.steps <= 8
    assert best.seconds is not None
    faster = recommend(dataclasses.replace(machine, cores=64))
    assert next(each for each in faster if each.info is best.info).seconds == pytest.approx(best.seconds / 32)


def test_a_full_disk_leaves_only_models_on_the_disk() -> None:
    assert names(recommend(gpu(24, disk=1 << 20))) == ["tiny"]


def test_offloading_needs_main_memory() -> None:
    with_ram = {each.info.name: each.plan.offload for each in recommend(gpu(8, ram=256 * GIB))}
    without = {each.info.name: each.plan.offload for each in recommend(gpu(8, ram=4 * GIB))}
    assert with_ram["flux-dev"] != "none"
    assert "flux-dev" not in without
    assert set(without.values()) <= {"none", "text", "model"}


def test_models_that_need_a_missing_package_are_named() -> None:
    missing = [info.name for info in recommending.unusable_models() if recommending.missing_packages(info)]
    assert not set(missing) & set(names(recommend(gpu(200))))


def test_catalog_estimate_agrees_with_the_estimate_from_the_files() -> None:
    model = find_local_model("tiny")
    assert model is not None
    planned = estimate_catalog_memory(catalog.builtin_models()["tiny"], "fp32")
    measured = estimate_memory(model, "fp32", (128, 128), 1)
    assert planned.denoiser_bytes == measured.denoiser_bytes
    assert planned.text_encoder_bytes == measured.text_encoder_bytes
    assert planned.vae_bytes == measured.vae_bytes


def test_sdxl_needs_the_memory_that_users_report() -> None:
    estimate = estimate_catalog_memory(catalog.builtin_models()["sdxl"], "fp16")
    peak = memory_budget.estimate_peak_bytes(estimate, "none", vae_tiling=False)
    assert 7 * GIB < peak < 12 * GIB
