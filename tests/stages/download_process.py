"""The download of a run without Spark, to be killed: `python -m tests.stages.download_process`.

Two tasks in one process, as on two cores. Arguments: the run's folder, the settings as JSON.
"""

import sys
import threading
from functools import partial

from pipeline.core import raw
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.coordinator import Coordinator
from pipeline.fetch.flow import download_parts
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.download import open_part


def main() -> None:
    store, config = Store(sys.argv[1]), DownloadSection.model_validate_json(sys.argv[2])
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


if __name__ == "__main__":
    main()
