"""Generate sample images of a fixed prompt set during the training, and plot the loss."""

import csv
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from model import TextToImageModel, build_scheduler
from PIL import Image
from transformers import CLIPTokenizer

PROMPTS = (
    "a red fox in the snow", "a fox", "a cat", "an apple", "a purple apple", "a car", "a pizza",
    "an owl at night", "a happy face", "a rocket", "a sunflower", "a tree on grass",
    "two apples", "three fish", "a blue car on a yellow background", "a small cat at the top left",
    "a dog to the left of a tree", "a cup of coffee, flat style", "a glossy cup of coffee",
    "a house", "a snowman in the snow", "a whale under water", "a guitar", "a doctor",
    "an elephant", "a strawberry on a blue background", "a bicycle", "the moon at night",
    "a green dragon", "a drawing of a lighthouse", "a cosy cabin in the woods", "a butterfly",
)  # fmt: skip


def build_pipeline(model: TextToImageModel, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    """Build a Stable Diffusion pipeline from its parts."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tile(images: list[Image.Image], columns: int) -> Image.Image:
    """Arrange equal images row by row on a sheet."""
    side = images[0].width
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for i, image in enumerate(images):
        sheet.paste(image, ((i % columns) * side, (i // columns) * side))
    return sheet


def generate_images(
    pipeline: StableDiffusionPipeline,
    prompts: list[str],
    seeds: list[int],
    steps: int = 20,
    guidance: float = 3.0,
    batch: int = 32,
    maps: list[Image.Image] | None = None,
) -> list[Image.Image]:
    """Generate one image per prompt. Its seed does not depend on the batch. `maps` are the inputs of a ControlNet."""
    images: list[Image.Image] = []
    for i in range(0, len(prompts), batch):
        batch_prompts = prompts[i : i + batch]
        generators = [torch.Generator("cpu").manual_seed(s) for s in seeds[i : i + batch]]
        control = {"image": maps[i : i + batch]} if maps else {}
        output = pipeline(
            batch_prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators, **control
        )
        images.extend(output.images)
    return images


@torch.no_grad()
def write_contact_sheet(model: TextToImageModel, work: Path, name: str) -> None:
    """Generate a contact sheet of the fixed prompts with seed 0."""
    vae = AutoencoderKL.from_pretrained(work / "vae").to(model.unet.device)
    pipeline = build_pipeline(model, vae, CLIPTokenizer.from_pretrained(work / "tokenizer"))
    model.eval()
    state = torch.get_rng_state()
    images = generate_images(pipeline, list(PROMPTS), [0] * len(PROMPTS))
    torch.set_rng_state(state)
    model.train()
    sheet = tile(images, 8)
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.BICUBIC).save(work / name)


def plot(table: Path, image: Path) -> None:
    """Plot the loss over the number of samples, from the CSV file of the training."""
    if not table.exists():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with table.open() as lines:
        rows = [[float(cell) for cell in row] for row in csv.reader(lines)]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot([row[1] / 1000 for row in rows], [row[4] for row in rows])
    axes.set(xlabel="thousand samples", ylabel="velocity loss", yscale="log")
    figure.tight_layout()
    figure.savefig(image, dpi=100)
    pyplot.close(figure)
