"""Create the responses of `txt2img` and `img2img`: images, parameters and `info`, a JSON text with A1111's keys."""

import base64
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from artgen._version import __version__
from artgen.metadata import format_a1111, sampler_names
from artgen.server.a1111.read_request import GenerationRequest
from artgen.server.job_queue import JobImage, ServerJob

_LARGE_FIELDS = ("init_images", "mask", "alwayson_scripts")
"""Fields of a request that contain images. The response does not repeat them."""


def generation_body(body: Mapping[str, Any], request: GenerationRequest, job: ServerJob) -> dict[str, Any]:
    """Return the JSON body of the response.

    Args:
        body: fields of the request.
        request: converted request.
        job: ended job.
    """
    images = list(job.images)
    sent = images if request.send_images else []
    parameters = {name: value for name, value in body.items() if name not in _LARGE_FIELDS}
    if body.get("include_init_images") is True:
        parameters |= {name: body[name] for name in ("init_images", "mask") if name in body}
    return {
        "images": [base64.b64encode(image.png).decode("ascii") for image in sent],
        "parameters": parameters,
        "info": json.dumps(generation_info(body, request, job, images), ensure_ascii=False),
    }


def generation_info(
    body: Mapping[str, Any], request: GenerationRequest, job: ServerJob, images: Sequence[JobImage]
) -> dict[str, Any]:
    """Return the content of `info`.

    It has the keys of A1111 (`Processed.js` in `modules/processing.py`), and two keys of artgen: `artgen_unsupported`,
    the fields that A1111 supports and artgen does not, and `artgen_notes`.

    Args:
        body: fields of the request.
        request: converted request.
        job: ended job.
        images: images of the job.
    """
    records = [image.record for image in images]
    first: Mapping[str, Any] = records[0] if records else request.line
    sampler, schedule = sampler_names(first.get("scheduler"), first.get("sigmas"))
    prompts = [str(record.get("prompt") or "") for record in records]
    negative_prompts = [str(record.get("negative_prompt") or "") for record in records]
    subseeds = [record.get("variation_seed", record.get("seed")) for record in records]
    digest = first.get("model_hash")
    return {
        "prompt": prompts[0] if prompts else body.get("prompt") or "",
        "all_prompts": prompts,
        "negative_prompt": negative_prompts[0] if negative_prompts else body.get("negative_prompt") or "",
        "all_negative_prompts": negative_prompts,
        "seed": first.get("seed"),
        "all_seeds": [record.get("seed") for record in records],
        "subseed": subseeds[0] if subseeds else None,
        "all_subseeds": subseeds,
        "subseed_strength": first.get("variation_strength") or 0,
        "width": first.get("width"),
        "height": first.get("height"),
        "sampler_name": sampler,
        "cfg_scale": first.get("guidance_scale"),
        "steps": first.get("steps"),
        "batch_size": request.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": first.get("model"),
        "sd_model_hash": digest[:10] if isinstance(digest, str) else None,
        "sd_vae_name": first.get("vae"),
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": first.get("strength"),
        "extra_generation_params": {"Schedule type": schedule} if schedule else {},
        "index_of_first_image": 0,
        "infotexts": [format_a1111(record) for record in records],
        "styles": list(request.line.get("style", [])),
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(job.created)),
        "clip_skip": first.get("clip_skip") or 1,
        "is_using_inpainting_conditioning": False,
        "version": f"artgen {__version__}",
        "artgen_unsupported": dict(request.unsupported),
        "artgen_notes": list(dict.fromkeys([*request.notes, *job.notes])),
    }
