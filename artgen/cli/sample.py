"""Define the command `artgen sample`."""

from functools import partial

from artgen.cli.dispatch import dispatch
from artgen.cli.options import flatten_settings
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions
from artgen.spec.settings import (
    ClassSettings,
    DeviceSettings,
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    GuidanceSettings,
    ModelRef,
    OutputSettings,
    PresetSettings,
    RemoteSettings,
    SchedulerSettings,
    SeriesSettings,
    StepsSettings,
    SweepSettings,
)


@image_output("sample")
@partial(flatten_settings, hidden=("include_noising",))
def sample(
    series: SeriesSettings,
    sweep: SweepSettings,
    steps: StepsSettings,
    guidance: GuidanceSettings,
    scheduler: SchedulerSettings,
    class_settings: ClassSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: ModelRef,
    compute: DeviceSettings,
    remote: RemoteSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: GenerationReportSettings,
) -> None:
    """Generate images from noise with a model that takes no prompt.

    These models are DDPM, DDIM, PNDM, score SDE, consistency models, unconditional latent diffusion and, with --class,
    class-conditional DiT. The size of the images is the size of the model.

    artgen sample -m google/ddpm-church-256 --steps 50
    artgen sample -m google/ddpm-church-256 --count 4 --seed 7 -o churches/
    """
    from artgen.spec.requests import Sample

    groups = (preset, filtering, steps, guidance, scheduler, class_settings, model, compute)
    dispatch(Sample, groups, series, sweep, OutputOptions(output, frames, report, remote))
