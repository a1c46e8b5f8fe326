"""The photos of a CompreFace server's face collection, by its REST API."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from deployments.errors import (
    FaceGraphError,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
    Unauthorized,
    UnexpectedAnswer,
)
from graph.batch.enrolment import PersonPhoto, PersonPhotos, person_id

_FACES = "/api/v1/recognition/faces"
_PAGE_SIZE = 200
_TIMEOUT_S = 30.0


class CompreFace:
    """A CompreFace server, asked with the API key of one of its face recognition services."""

    def __init__(self, url: str, api_key: str) -> None:
        """Raise InvalidRequest for a URL that is none."""
        try:
            headers = {"x-api-key": api_key}
            self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InvalidRequest(f"{url}: {error}", field="url") from error

    def close(self) -> None:
        self._http.close()

    def persons(self) -> dict[str, PersonPhotos]:
        """The subjects that have saved images, by a person's id (`person_id`).

        Raises Unauthorized, ModelUnavailable, UnexpectedAnswer.
        """
        photos: dict[str, list[PersonPhoto]] = {}
        for image, subject in self._faces():
            photo = PersonPhoto(f"{subject}/{image}", partial(self._image, image))
            photos.setdefault(subject, []).append(photo)
        return {
            person_id(subject): PersonPhotos(listed, subject) for subject, listed in photos.items()
        }

    def _faces(self) -> Iterator[tuple[str, str]]:
        """The id and the subject of each saved image."""
        page, pages = 0, 1
        while page < pages:
            answer = self._get(_FACES, page=page, size=_PAGE_SIZE)
            try:
                content: dict[str, Any] = answer.json()
                faces = [(str(face["image_id"]), str(face["subject"])) for face in content["faces"]]
                pages = int(content["total_pages"])
            except (ValueError, KeyError, TypeError) as error:
                raise UnexpectedAnswer(
                    f"{answer.url}: not the answer of CompreFace's list of saved examples"
                ) from error
            yield from faces
            page += 1

    def _image(self, image: str) -> bytes:
        """Raises InvalidImage for an image that the server does not have."""
        content = self._get(f"{_FACES}/{quote(image, safe='')}/img").content
        if not content:
            raise InvalidImage(f"{image}: CompreFace has kept no image of this face")
        return content

    def _get(self, path: str, **query: int) -> httpx.Response:
        try:
            answer = self._http.get(path, params=query)
        except httpx.HTTPError as error:
            raise ModelUnavailable(f"{self._http.base_url}: {error or 'no answer'}") from error
        if answer.is_success:
            return answer
        raise _failure(answer)


def _failure(answer: httpx.Response) -> FaceGraphError:
    message = f"{answer.url} answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code in (401, 403):
        return Unauthorized(f"{message}: the key of a face recognition service is needed")
    if answer.status_code == 404 and answer.url.path.endswith("/img"):
        return InvalidImage(message)
    return UnexpectedAnswer(message)
