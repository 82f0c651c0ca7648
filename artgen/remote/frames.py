"""Generate the frames of a morph on a server."""

from artgen.engine.results import GeneratedImage
from artgen.events import Listener, WaitingForServer
from artgen.jobs.image_variations.morph import MorphPlan
from artgen.jobs.prompt_expansion import report_once
from artgen.jobs.replay_remote import check_hashes
from artgen.remote.connection import Connection, Server
from artgen.remote.job import Numbering, RemoteJob
from artgen.remote.submission import run_in_order
from artgen.remote.upload import to_upload


def generate_frames(plan: MorphPlan, server: Server, listener: Listener) -> list[GeneratedImage]:
    """Return the frames of a morph.

    Raises:
        ArtgenError: a frame could not be generated, or the server has other weights than the images.
    """
    connection = Connection(server, lambda: listener(WaitingForServer(0)))
    num_devices = connection.check()
    recorded = plan.specs[0].recorded
    jobs = run_in_order(
        plan.requests,
        lambda request: RemoteJob.submit(connection, request, to_upload(request, recorded)),
        num_devices + 1,
    )
    report, frames = report_once(listener), []
    for number, (_, job) in enumerate(jobs, 1):
        frames.append(job.wait(report, Numbering(number, len(plan.requests))))
        check_hashes(frames[-1].record, plan.specs[0].expected_hashes)
    return frames
