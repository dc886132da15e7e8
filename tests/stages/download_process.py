"""The download of a run without Spark, in a process that is to be killed."""

import threading
from functools import partial

from pipeline.core import raw
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.coordinator import Coordinator
from pipeline.fetch.flow import download_parts
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.download import open_part


def download(root: str, config: DownloadSection) -> None:
    """Download what is missing: two tasks in one process, as on two cores."""
    store = Store(root)
    store.sweep(raw.FOLDER)
    store.sweep(IMAGES.name)
    folders = store.fs.ls(store.path(CANDIDATES.name), detail=False)
    parts = {int(str(folder).rpartition("=")[2]) for folder in folders}
    missing = sorted(parts - store.committed(IMAGES).keys())
    with Coordinator(missing, config) as coordinator:
        work = partial(download_parts, partial(open_part, store), config, coordinator.address)
        tasks = [threading.Thread(target=work) for _ in range(2)]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
