"""Generate images that are similar to an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from artgen.api.arguments import api_function, take_group
from artgen.api.call import Call, start_call, take_unrecorded
from artgen.api.generation import generate_images, is_seed_list
from artgen.api.inputs import input_file
from artgen.api.keyword_types import VariationsKeywords
from artgen.errors import ArtgenError, UsageError
from artgen.jobs.batch_size import ExactBatchSize, parse_batch_size
from artgen.jobs.image_variations.plan import DEFAULT_COUNT, VariationPlan, plan_variations
from artgen.jobs.recorded_prompt import add_unsupported, with_recorded_prompts
from artgen.spec.base_requests import Request
from artgen.spec.fields import describe_value
from artgen.spec.seeds import expand_seeds
from artgen.spec.settings import SeriesSettings

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput
    from artgen.engine.results import GeneratedImage


@api_function("variations")
def variations(image: "ImageInput", **changes: Unpack[VariationsKeywords]) -> "list[GeneratedImage]":
    """Generate images that are similar to an image.

    The initial noise of an image of artgen is mixed with other noise (slerp). If the noise is unknown, img2img
    generates the images, and a note of each result states the reason. A keyword changes a recorded setting, as in
    `replay`.

    Args:
        image: Path, PIL image, array, result, or bytes of an image file; see `artgen.api.inputs.ImageInput`.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: See `replay`.
        UsageError: A value is invalid.
        MemoryExhaustedError, FilteredError, NonFiniteError: The images could not be generated.
    """
    with start_call("variations", changes) as call:
        amount = call.values.pop("amount", 0.2)
        if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 <= amount <= 1:
            raise UsageError(f"amount must be 0 to 1, not {describe_value(amount)}.")
        settings = take_unrecorded(call)
        seeds = _seeds(call)
        plan = plan_variations(input_file(image), float(amount), seeds, call.values)
        for note in plan.notes:
            call.listener.add_note(note)
        requests = [each.replace(**settings) for each in plan.requests]
        if plan.spec is None:
            return _generate_with_img2img(call, plan, requests)
        spec = plan.spec
        return generate_images(
            call,
            lambda prepare, listener: [spec.prepare(each, prepare, listener) for each in requests],
            None,
            parse_batch_size(None) if amount else ExactBatchSize(spec.batch_size),
            spec.check_job,
        )


def _seeds(call: Call) -> Sequence[int]:
    seed, count = call.values.pop("seed", None), call.values.pop("count", None)
    is_list = is_seed_list(seed)
    text = None if seed is None else ",".join(map(str, seed)) if is_list else str(seed)
    number = count if count is not None else 1 if is_list else DEFAULT_COUNT
    return expand_seeds(take_group(SeriesSettings, {"seed": text, "count": number}))


def _generate_with_img2img(call: Call, plan: VariationPlan, requests: Sequence[Request]) -> "list[GeneratedImage]":
    given = set(plan.given) | (set() if plan.uses_recorded_prompt else {"prompt"})

    def prepare(prepare_jobs: Any, _: object) -> Any:
        return prepare_jobs(with_recorded_prompts(requests, given, call.listener))

    while True:  # each repetition has one recorded setting less
        try:
            return generate_images(call, prepare)
        except ArtgenError as error:
            add_unsupported(error, given, call.listener)
