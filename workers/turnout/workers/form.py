"""Forms: the two content types in which browsers and form services post them."""

from io import BytesIO
from typing import NamedTuple
from urllib.parse import parse_qsl

from multidict import MultiDict, MultiDictProxy
from multipart import MultipartParser, parse_options_header

#: A form of more fields than this is refused.
MOST_FIELDS = 1000


class File(NamedTuple):
    """An uploaded file."""

    name: str
    """Of the form's field."""
    filename: str
    """As the sender called it: never trust it as a path."""
    content_type: str
    data: bytes


class Form(NamedTuple):
    """A posted form."""

    fields: MultiDictProxy[str]
    files: MultiDictProxy[File]


def parse(content_type: str, body: bytes) -> Form:
    """Read a form.

    Args:
        content_type: the header, with its options.
        body: the bytes that it describes.

    Raises:
        ValueError: it is not a form, broken, or of too many fields.
        LookupError: it names a charset that does not exist.
    """
    media_type, options = parse_options_header(content_type)
    charset = options.get("charset", "utf-8")
    fields: MultiDict[str] = MultiDict()
    files: MultiDict[File] = MultiDict()
    if media_type == "application/x-www-form-urlencoded":
        text = body.decode(charset)
        fields.extend(
            parse_qsl(text, keep_blank_values=True, encoding=charset, max_num_fields=MOST_FIELDS)
        )
    elif media_type == "multipart/form-data":
        limit = len(body) + 1  # it is in memory already: no part of it goes to the disk
        parser = MultipartParser(
            BytesIO(body),
            options.get("boundary", ""),
            len(body),
            charset=charset,
            part_limit=MOST_FIELDS,
            spool_limit=limit,
            memory_limit=limit,
        )
        for part in parser:
            if part.filename:
                files.add(part.name, File(part.name, part.filename, part.content_type, part.raw))
            else:
                fields.add(part.name, part.value)
    else:
        raise ValueError("its content type is not that of a form")
    return Form(MultiDictProxy(fields), MultiDictProxy(files))
