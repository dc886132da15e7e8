"""The script that comes behind clip-retrieval in `line`; runs in that tool's environment.

`TARS EMBEDDED FOLDER KEEP`: keeps captions of 5 characters and more, and of these the KEEP share that
is most alike to its picture, and writes them to tars of 1,000: what LAION did with such scores, with
a share in place of a threshold. Imports nothing of ours.
"""

import glob
import os
import sys

import numpy as np
import pyarrow.parquet as pq
import webdataset


def reshard(tars, embedded, folder, keep):
    """EMBEDDED is what clip-retrieval wrote of all tars, as one partition."""
    pictures, texts = (
        np.load(f"{embedded}/{kind}_emb/{kind}_emb_0.npy").astype(np.float32)
        for kind in ("img", "text")
    )
    rows = pq.read_table(f"{embedded}/metadata/metadata_0.parquet").to_pydict()
    alike = (pictures * texts).sum(1)
    long_enough = np.array([len(caption) >= 5 for caption in rows["caption"]])
    least = np.quantile(alike[long_enough], 1 - keep)
    kept = long_enough & (alike >= least)
    wanted = {name for name, is_kept in zip(rows["image_path"], kept, strict=True) if is_kept}
    os.makedirs(folder)
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=1000, verbose=0) as out:
        for sample in webdataset.WebDataset(tars, shardshuffle=False):
            if sample["__key__"] in wanted:
                out.write({name: sample[name] for name in ("__key__", "jpg", "txt", "json")})


if __name__ == "__main__":
    given, vectors, target, share = sys.argv[1:]
    reshard(sorted(glob.glob(f"{given}/*.tar")), vectors, target, float(share))
