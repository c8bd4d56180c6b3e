"""Getting market data, keeping it, and knowing how good it is."""

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.download import DownloadResult, download
from cryptoquant.data.quality import QualityReport
from cryptoquant.data.recorder import Recorder, record
from cryptoquant.data.recorder_status import RecorderOptions, RecorderStatus
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket, ticks

__all__ = [
    "Alpaca",
    "DownloadResult",
    "QualityReport",
    "Recorder",
    "RecorderOptions",
    "RecorderStatus",
    "Store",
    "SyntheticMarket",
    "download",
    "record",
    "ticks",
]
