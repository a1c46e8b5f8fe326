from deployments.recognizer.recognizer import Recognizer, load_recognizer

__all__ = ["Recognizer", "load_recognizer"]
