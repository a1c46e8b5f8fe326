from deployments.detector.detector import Detector, load_detector

__all__ = ["Detector", "load_detector"]
