"""`--fast`: approximations on request; the exact picture stays exact, before, after and beside them."""

from pathlib import Path
from typing import Any

import hub_server
import plain_scripts as plain
import pytest
import tiny_loras
import torch
from command_line import run
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import nn

from artgen import GeneratedImage, Img2Img, Inpaint, Outpaint, Txt2Img, generate, generate_all, replay
from artgen.engine.acceleration.fast_hooks import with_approximations
from artgen.errors import ModelUnavailableError, NonFiniteError, UsageError
from artgen.registry.hub import cache
from artgen.spec.fast import LCM_LORA_FILENAME

WORDS = {"prompt": "a red fox", "negative_prompt": "blue", "steps": 9, "guidance_scale": 5.0, "seed": 7}


def counted(monkeypatch: pytest.MonkeyPatch, cls: type = nn.Conv2d) -> list[int]:
    """The rows that each convolution is called with, from now on."""
    rows: list[int] = []

    def count(original: Any, self: Any, *arguments: Any, **more: Any) -> Any:
        rows.append(len(arguments[0]))
        return original(self, *arguments, **more)

    plain.around(monkeypatch, cls, "forward", count)
    return rows


def test_names_have_one_form_and_others_are_refused() -> None:
    assert Txt2Img(fast=" Guidance+cache").fast == "cache,guidance"
    assert Txt2Img(fast="cache,cache").fast == "cache"
    assert Txt2Img(fast="none").fast is None
    with pytest.raises(UsageError, match="not 'cash'") as refused:
        Txt2Img(fast="cash,guidance")
    assert refused.value.hint == "Did you mean cache?"
    for wrong in ("", ",", "cache,none"):
        with pytest.raises(UsageError, match="fast must name some of"):
            Txt2Img(fast=wrong)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 5, "fast": "cache"}, "in 5 steps they differ too much"),
        ({"guidance_scale": 1.0, "fast": "guidance"}, "without a second pass"),
    ],
)
def test_what_would_save_nothing_is_refused(sd1: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        generate(Txt2Img(model=sd1, **{**WORDS, **settings}))


def test_a_transformer_has_no_deep_features_to_keep(models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"works with sd1, sd2, sdxl; .* is sd3"):
        generate(Txt2Img(model=str(models["sd3"]), fast="cache", **WORDS))


def test_steps_are_those_that_run(sd1: str) -> None:
    plain.photo(Path("photo.png"))
    request = Img2Img(model=sd1, image=Path("photo.png"), strength=0.5, fast="cache", **WORDS)
    with pytest.raises(UsageError, match="in 4 steps") as refused:
        generate(request)
    assert "--steps 12" in refused.value.hint
    assert generate(request.replace(steps=12)).record["fast"] == "cache"


@pytest.mark.parametrize("fast", ["cache", "guidance", "cache,guidance"])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_the_exact_picture_stays_exact_and_the_other_repeats(models: dict[str, Path], kind: str, fast: str) -> None:
    request = Txt2Img(model=str(models[kind]), **WORDS)
    exact = generate(request)
    once = generate(request.replace(fast=fast))
    again = generate(request.replace(fast=fast))
    assert "fast" not in exact.record
    assert once.record["fast"] == fast
    assert plain.same(once.image, again.image)
    assert not plain.same(once.image, exact.image)
    assert plain.same(generate(request).image, exact.image)


def test_guidance_works_with_a_transformer(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd3"]), **WORDS)
    assert not plain.same(generate(request).image, generate(request.replace(fast="guidance")).image)


def test_every_task_takes_it(models: dict[str, Path]) -> None:
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    words = {**WORDS, "steps": 12, "fast": "cache,guidance"}
    for request in (
        Inpaint(model=str(models["sd1"]), image=image, mask=mask, **words),
        Inpaint(model=str(models["sd1-inpaint"]), image=image, mask=mask, **words),
        Outpaint(model=str(models["sd1"]), image=image, expand="8", **words),
    ):
        fast, exact = generate(request), generate(request.replace(fast=None))
        assert not plain.same(fast.image, exact.image)
        assert plain.same(generate(request).image, fast.image)


def test_neighbours_are_drawn_apart_and_do_not_matter(sd1: str) -> None:
    exact = Txt2Img(model=sd1, **WORDS)
    fast = exact.replace(fast="cache,guidance")
    alone = [generate(request).image for request in (fast, fast.replace(seed=8))]
    outcomes = list(generate_all([exact, fast, fast.replace(seed=8), exact.replace(seed=9)], batch_size=4))
    pictures = [outcome for outcome in outcomes if isinstance(outcome, GeneratedImage)]
    assert [picture.record["batch_size"] for picture in pictures] == [1, 2, 2, 1]
    assert max(plain.difference(a, b.image) for a, b in zip(alone, pictures[1:3], strict=True)) <= 1
    assert plain.same(pictures[0].image, generate(exact).image)


def test_a_picture_tells_and_replay_draws_it_again(sd1: str) -> None:
    words = ("-m", sd1, "--steps", "9", "-g", "5", "--seed", "7", "--fast", "cache")
    run("txt2img", "a red fox", *words, "-o", "a.png")
    again = replay(Path("a.png"), {"model": sd1})
    assert again.record["fast"] == "cache"
    assert plain.same(again.image, Image.open("a.png"))
    exact = replay(Path("a.png"), {"model": sd1, "fast": ""})
    assert "fast" not in exact.record
    assert not plain.same(exact.image, again.image)


def test_nothing_stays_on_a_model_after_a_failure(sd1: str) -> None:
    request = Txt2Img(model=sd1, **WORDS)
    exact = generate(request).image

    def stop(event: object) -> None:
        if type(event).__name__ == "Step":
            raise NonFiniteError("as if")

    with pytest.raises(NonFiniteError):
        generate(request.replace(fast="cache,guidance"), listener=stop)
    assert plain.same(generate(request).image, exact)


def cached(repo: str) -> Path:
    """The folder of a snapshot in the hub's cache, where `main` points."""
    folder = cache.repository_folder(repo) / "snapshots" / ("a" * 40)
    refs = folder.parent.parent / "refs"
    for each in (folder, refs):
        each.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    return folder


def save_tiny_decoder(blocks: int = 2) -> Path:
    """A real tiny autoencoder with random weights, where the hub's cache would have it."""
    torch.manual_seed(0)
    folder = cached("madebyollin/taesd")
    channels = dict.fromkeys(("encoder_block_out_channels", "decoder_block_out_channels"), (8,) * blocks)
    counts = {"num_encoder_blocks": (1,) * blocks, "num_decoder_blocks": (1,) * blocks}
    AutoencoderTiny(**channels, **counts).save_pretrained(folder)
    return folder


def test_a_tiny_decoder_decodes_what_plain_diffusers_decodes_with_it(sd1: str) -> None:
    folder = save_tiny_decoder()
    picture = generate(Txt2Img(model=sd1, fast="tiny-decoder", **WORDS))
    assert picture.record["fast_parts"] == [f"madebyollin/taesd@{'a' * 40}"]
    with plain.quiet():
        pipe = StableDiffusionPipeline.from_pretrained(sd1, vae=AutoencoderTiny.from_pretrained(folder))
    pipe.set_progress_bar_config(disable=True)
    words = {"num_inference_steps": 9, "guidance_scale": 5.0, "prompt": "a red fox", "negative_prompt": "blue"}
    wanted = pipe(generator=torch.Generator().manual_seed(7), width=32, height=32, **words).images[0]
    assert plain.difference(picture.image, wanted) <= 1


def test_with_a_tiny_decoder_pictures_still_go_in_through_the_models_own_encoder(
    sd1: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_decoder()
    plain.photo(Path("photo.png"))
    exact = Img2Img(model=sd1, image=Path("photo.png"), strength=0.7, **WORDS)
    before, fast = generate(exact), generate(exact.replace(fast="tiny-decoder"))
    encoded = counted(monkeypatch, AutoencoderTiny)
    assert plain.same(generate(exact.replace(fast="tiny-decoder")).image, fast.image)
    assert plain.same(generate(exact).image, before.image)
    assert not plain.same(fast.image, before.image)
    assert encoded == []


def test_a_part_that_is_not_here_is_refused_offline(sd1: str) -> None:
    with pytest.raises(ModelUnavailableError, match="madebyollin/taesd is not on this computer"):
        generate(Txt2Img(model=sd1, fast="tiny-decoder", offline=True, **WORDS))


def test_a_picture_is_not_made_again_with_another_part(sd1: str) -> None:
    folder = save_tiny_decoder()
    sampled = ("--steps", "9", "-g", "5", "--seed", "7")
    run("txt2img", "a red fox", "-m", sd1, *sampled, "--fast", "tiny-decoder", "-o", "a.png")
    assert plain.same(replay(Path("a.png"), {"model": sd1}).image, Image.open("a.png"))
    folder.rename(folder.with_name("b" * 40))
    (folder.parent.parent / "refs" / "main").write_text("b" * 40)
    with pytest.raises(ModelUnavailableError, match=r"taesd@aaaa\w+; here is madebyollin/taesd@bbbb") as refused:
        replay(Path("a.png"), {"model": sd1})
    assert "--set fast=tiny-decoder" in refused.value.hint
    replay(Path("a.png"), {"model": sd1, "fast": "tiny-decoder"})


def test_a_tiny_decoder_is_refused_for_other_latents(models: dict[str, Path], sd1: str) -> None:
    save_tiny_decoder(blocks=4)
    for model in ("tiny", str(models["sdxl"]), sd1):
        with pytest.raises(UsageError, match="other latents"):
            generate(Txt2Img(model=model, fast="tiny-decoder", offline=True, **WORDS))


def test_a_part_is_downloaded_once(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_decoder()
    hub = hub_server.Hub(repo="madebyollin/taesd")
    hub.fill(folder)
    hub.files["taesd_encoder.pth"] = b"not asked for"
    monkeypatch.setenv("HF_HOME", str(Path("elsewhere").absolute()))
    with hub_server.serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        first, second = (generate(Txt2Img(model=sd1, fast="tiny-decoder", **WORDS)) for _ in range(2))
    assert plain.same(first.image, second.image)
    assert first.record["fast_parts"] == [f"madebyollin/taesd@{hub_server.COMMIT}"]
    assert sorted(hub.downloads()) == ["config.json", "diffusion_pytorch_model.safetensors"]


def test_lcm_is_a_lora_and_a_way_to_sample(models: dict[str, Path]) -> None:
    words = {"model": str(models["sd1"]), "prompt": "a red fox", "seed": 7}
    exact = generate(Txt2Img(**words, steps=4, guidance_scale=1.0, scheduler="lcm"))
    lora = tiny_loras.diffusers_lora(cached("latent-consistency/lcm-lora-sdv1-5") / LCM_LORA_FILENAME, models["sd1"])
    fast = generate(Txt2Img(fast="lcm", **words))
    assert [fast.record[name] for name in ("steps", "guidance_scale", "scheduler", "fast")] == [4, 1.0, "lcm", "lcm"]
    assert "lora_sha256" not in fast.record
    by_hand = generate(Txt2Img(lora=(str(lora),), steps=4, guidance_scale=1.0, scheduler="lcm", **words))
    assert plain.same(fast.image, by_hand.image)
    assert not plain.same(fast.image, exact.image)
    assert plain.same(generate(exact.request).image, exact.image)
    more = generate(Txt2Img(fast="lcm", steps=6, guidance_scale=1.5, **words))
    assert (more.record["steps"], more.record["guidance_scale"]) == (6, 1.5)
    with pytest.raises(UsageError, match="draws with the scheduler lcm, not euler"):
        generate(Txt2Img(fast="lcm", scheduler="euler", **words))
    twice = Txt2Img(fast="lcm", lora=(str(lora),), **words)
    with pytest.raises(UsageError, match="given twice"):
        generate(twice)


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ("tiny", UsageError, "made for Stable Diffusion's weights"),
        ("sd3", UsageError, "works with sd1, sdxl"),
        ("sdxl", ModelUnavailableError, "lcm-lora-sdxl is not on this computer"),
    ],
)
def test_lcm_is_refused_early(models: dict[str, Path], model: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        generate(Txt2Img(model=str(models.get(model, model)), fast="lcm", offline=True))


def unet() -> UNet2DConditionModel:
    import tiny_models

    torch.manual_seed(0)
    return tiny_models._unet().eval()


def asked(model: UNet2DConditionModel, at: int, rows: int = 2, scale: float = 1.0) -> torch.Tensor:
    sample = scale * torch.randn(rows, 4, 16, 16, generator=torch.Generator().manual_seed(at))
    with torch.no_grad():
        words = torch.ones(rows, 77, 32)
        answer: torch.Tensor = model(sample, at, encoder_hidden_states=words, return_dict=False)[0]
    return answer


def test_a_kept_step_computes_less_and_is_right_for_the_same_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model = unet()
    exact = asked(model, 5)
    calls = counted(monkeypatch)
    asked(model, 5)
    whole = len(calls)
    pipe = type("Pipe", (), {"unet": model, "num_timesteps": 9})()
    with with_approximations(pipe, "cache", 1):
        calls.clear()
        first = asked(model, 5)
        assert len(calls) == whole
        calls.clear()
        second = asked(model, 5)
        assert len(calls) < whole / 3
        other = asked(model, 6)
        fourth = asked(model, 6)
    assert torch.equal(first, exact)
    assert torch.equal(second, exact)  # the same input has the same deep features
    assert not torch.equal(other, asked(model, 6))
    assert torch.equal(fourth, asked(model, 6))  # the fourth call computes everything again
    assert torch.equal(asked(model, 5), exact)


def test_a_batch_that_grows_computes_everything_and_one_that_shrinks_takes_its_own_rows() -> None:
    model = unet()
    pipe = type("Pipe", (), {"unet": model, "num_timesteps": 9})()
    with with_approximations(pipe, "cache", 1):
        both = asked(model, 5, rows=2)
        sample = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))[1:]
        with torch.no_grad():
            second = model(sample, 5, encoder_hidden_states=torch.ones(1, 77, 32), return_dict=False)[0]
        assert torch.allclose(second, both[1:], atol=1e-5)
        exact = asked(unet(), 7, rows=4)
        assert torch.allclose(asked(model, 7, rows=4), exact, atol=1e-6)


def test_layers_that_fetch_others_are_not_skipped() -> None:
    model = unet()
    model.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    pipe = type("Pipe", (), {"unet": model, "num_timesteps": 9})()
    with pytest.raises(UsageError, match="--offload group"), with_approximations(pipe, "cache", 1):
        pass


def test_guidance_asks_once_where_it_may_and_is_right_when_nothing_moves() -> None:
    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[int] = []

        def forward(self, sample: torch.Tensor, **more: Any) -> tuple[torch.Tensor]:
            self.rows.append(len(sample))
            assert len(more["embeds"]["text"]) == len(sample)
            return (sample * more["embeds"]["text"],)

    denoiser = Denoiser()
    pipe = type("Pipe", (), {"unet": denoiser, "num_timesteps": 10})()
    sample, text = torch.ones(4, 1), torch.tensor([[1.0], [1.0], [2.0], [3.0]])
    with with_approximations(pipe, "guidance", 2):
        answers = [denoiser(sample, embeds={"text": text})[0] for _ in range(10)]
    assert denoiser.rows == [4, 4, 2, 4, 2, 2, 4, 2, 2, 4]
    assert all(torch.equal(answer, text) for answer in answers)
