"""Attachments over HTTP: upload, download, removal."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from .. import attachments
from ..conf import get_settings
from ..database import release_connections, run_db
from ..exceptions import UnsupportedMediaType
from ..models import Attachment
from ..permissions import get_policy
from .endpoint import Endpoint, body_length, json_response
from .files import file_response

#: Room for what a form has around its one file.
_FORM_BYTES: Final = 65_536


class AttachmentList(Endpoint):
    """``POST conversations/<id>/attachments/``."""

    async def post(self, request: HttpRequest, conversation: str) -> HttpResponse:
        """Upload a file, the field ``file`` of a form."""
        # Parsed here, and as an error only once it is known who asks: the CSRF check would do it in a database thread.
        self.check_body(request)
        row, file = await self.work(_begin, conversation, await asyncio.to_thread(_uploaded, request))
        try:
            await asyncio.to_thread(_store, row, file)
        except Exception:
            await run_db(attachments.discard, row)
            raise
        return json_response(await run_db(attachments.end_upload, row), status=201)

    def check_body(self, request: HttpRequest) -> None:
        """Take a form with one file of the site's size."""
        length = body_length(request, get_settings().max_attachment_bytes + _FORM_BYTES)
        if length and request.content_type != "multipart/form-data":
            raise UnsupportedMediaType("Send multipart/form-data.")


class AttachmentDetail(Endpoint):
    """``GET`` and ``DELETE attachments/<id>/``."""

    async def get(self, request: HttpRequest, attachment: str) -> HttpResponseBase:
        """Send the file."""
        row = await self.work(_find, attachment)
        return await asyncio.to_thread(file_response, request, row)

    async def delete(self, request: HttpRequest, attachment: str) -> HttpResponse:
        """Remove a file that was not sent."""
        await self.work(_remove, attachment)
        return HttpResponse(status=204)


def _uploaded(request: HttpRequest) -> UploadedFile[Any] | None:
    """Return the one file of a form, which Django's upload handlers have taken in; None for another form."""
    try:
        files = [file for name in request.FILES for file in request.FILES.getlist(name)]
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        return None
    return files[0] if len(files) == 1 and "file" in request.FILES else None


def _begin(
    request: HttpRequest, conversation: str, file: UploadedFile[Any] | None
) -> tuple[Attachment, UploadedFile[Any] | None]:
    return attachments.begin_upload(get_policy().identify(request), conversation, file), file


def _store(row: Attachment, file: UploadedFile[Any]) -> None:
    try:
        attachments.store_upload(row, file)
    finally:
        release_connections()  # of a storage that keeps its files in a database


def _find(request: HttpRequest, attachment: str) -> Attachment:
    return attachments.find_attachment(get_policy().identify(request), attachment)


def _remove(request: HttpRequest, attachment: str) -> None:
    attachments.remove(get_policy().identify(request), attachment)
