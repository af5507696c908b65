"""Receive uploaded files in memory, up to the limit, and never in a temporary file.

A file that is too large becomes an `OversizedUpload`: it contains no data, and reading it raises ExportTooLarge (413).
So a view passes any file on, and `importing.import_upload` records this refusal like any other.
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

#: The name of the file's form field.
FILE_FIELD = "file"
#: The part of a multipart body that is not the file: boundaries, part headers, small fields.
MULTIPART_OVERHEAD_BYTES = 64 * 1024


class OversizedUpload(BytesUpload):
    """A file that exceeds the limit. Contains no data; `size` is the declared size in bytes."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(file=BytesIO(), name="oversized", size=size_bytes)

    def read(self, *_: Any) -> NoReturn:
        """Raise ExportTooLarge."""
        raise ExportTooLarge(limit_bytes=settings.UPLOAD_LIMIT_BYTES, size_bytes=self.size or 0)


class BoundedMemoryUploadHandler(FileUploadHandler):
    """Keeps the files of a request in memory. UPLOAD_LIMIT_BYTES applies to all of them together.

    A request whose Content-Length exceeds the limit is answered without reading its body; the server then closes the
    connection. Django never reads more than Content-Length declares, so a false declaration cannot exceed the limit.
    """

    chunk_size = 256 * 1024

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._remaining_bytes = settings.UPLOAD_LIMIT_BYTES
        self._content = BytesIO()

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: str | None = None
    ) -> tuple[QueryDict, MultiValueDict[str, BytesUpload]] | None:
        """Replace the whole body with an OversizedUpload if it is too large; otherwise let Django parse it."""
        if content_length <= settings.UPLOAD_LIMIT_BYTES + MULTIPART_OVERHEAD_BYTES:
            return None
        oversized: BytesUpload = OversizedUpload(content_length)
        return QueryDict(encoding=encoding), MultiValueDict({FILE_FIELD: [oversized]})

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Start a new file."""
        super().new_file(*args, **kwargs)
        self._content = BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep a chunk. Return None, so that no other handler stores it."""
        # Content-Length may exceed the limit by the overhead, so the total stays bounded here as well.
        self._remaining_bytes -= len(raw_data)
        self._content.write(raw_data)

    def file_complete(self, file_size: int) -> BytesUpload:
        """Return the file, or an OversizedUpload if the files exceed the limit."""
        if self._remaining_bytes < 0:
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
