"""How an upload is received: in memory, never in a file, and not past the limit.

For the views: hand the whole uploaded file to `importing.import_upload`, which
reads it. One that was too large arrives as an `OversizedUpload`, unread and
with its size; reading it raises ExportTooLarge (413), so receive records
the refusal and raises it like any other.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from chats.exports.errors import ExportTooLarge

if TYPE_CHECKING:
    BytesUpload = UploadedFile[bytes]
else:
    BytesUpload = UploadedFile

#: The form field of the API's upload.
FIELD = "file"
#: What a multipart body may hold beside the file: boundaries, part headers, small fields.
_FRAME_BYTES = 64 * 1024


class OversizedUpload(BytesUpload):
    """A file that was larger than the limit, by the size its request declared. None of it was kept."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(file=BytesIO(), name="oversized", size=size_bytes)

    def read(self, *_: Any) -> NoReturn:
        raise ExportTooLarge(limit_bytes=settings.UPLOAD_LIMIT_BYTES, size_bytes=self.size or 0)


class BoundedMemoryUploadHandler(FileUploadHandler):
    """Keeps each file of a request in memory, up to UPLOAD_LIMIT_BYTES for all of them together.

    Django reads no more than Content-Length declares, so a body that declares
    too much is answered without reading it; the server then closes the connection.
    """

    chunk_size = 256 * 1024

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._left_bytes = settings.UPLOAD_LIMIT_BYTES
        self._content = BytesIO()

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: str | None = None
    ) -> tuple[QueryDict, MultiValueDict[str, BytesUpload]] | None:
        if content_length <= settings.UPLOAD_LIMIT_BYTES + _FRAME_BYTES:
            return None
        oversized: BytesUpload = OversizedUpload(content_length)
        return QueryDict(encoding=encoding), MultiValueDict({FIELD: [oversized]})

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._content = BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._left_bytes -= len(raw_data)
        self._content.write(raw_data)

    def file_complete(self, file_size: int) -> BytesUpload:
        if self._left_bytes < 0:
            return OversizedUpload(file_size)
        self._content.seek(0)
        return InMemoryUploadedFile(
            self._content,
            self.field_name,
            self.file_name or "",
            self.content_type or "",
            file_size,
            self.charset,
            self.content_type_extra,
        )
