"""Looking at pictures for what is not normal: all that is asked, and all that can be refused without torch."""

from artgen.anomalies.fits import Known, Look, least_number, read_known
from artgen.anomalies.pictures import load, read_pictures
from artgen.anomalies.preparing import Prepared, prepare
from artgen.anomalies.request import Anomaly

__all__ = ["Anomaly", "Known", "Look", "Prepared", "least_number", "load", "prepare", "read_known", "read_pictures"]
