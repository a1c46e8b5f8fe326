"""The limit of an image file's size, which holds before the file is opened or sent anywhere."""

from configs.limits import ImageLimits
from deployments.contracts import Photo
from deployments.errors import ImageTooLarge


def require_size(photo: Photo, limits: ImageLimits) -> None:
    """Raise ImageTooLarge for a file of more than `max_bytes`; pixels have no such limit."""
    if not isinstance(photo.content, bytes) or len(photo.content) <= limits.max_bytes:
        return
    raise ImageTooLarge(
        f"{photo.field}: {len(photo.content)} bytes, at most {limits.max_bytes} are taken",
        field=photo.field,
        max_bytes=limits.max_bytes,
    )
