"""Records on the disk: a folder that is never half of anything, and a codec of JSON and safetensors.

Left of all that uses it: nothing here knows what a run or a study is.
"""

from fedlab.storage.folder import Content, DamagedRecord, Writer, hold, odd, read, replace_file, resolved
from fedlab.storage.lock import FolderInUse

__all__ = ["Content", "DamagedRecord", "FolderInUse", "Writer", "hold", "odd", "read", "replace_file", "resolved"]
