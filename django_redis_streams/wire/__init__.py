"""A message as the fields of a stream entry, and back. Which entry is read or written, and when, is the store's.

Three kinds of entry:

- an *envelope*, written by `publish()` or by anybody who keeps to its few field names;
- a *foreign* entry: any other fields, from any client; its payload is the fields as text;
- a *redelivered* entry, in the redelivery streams and the dead letter queue only: one field `drs` with our
  metadata, then the original fields, verbatim.

Text is UTF-8 with surrogate escapes on this side, so that foreign bytes go back unharmed. Nothing is
unpickled, and nothing is imported by a name that came in a message.
"""

from .decoding import (
    Origin,
    Undecodable,
    decode,
    decode_all,
    decode_as_foreign,
    decode_entry,
    is_envelope,
    is_native_flat,
    message_id,
)
from .encoding import EntryEncoder
from .names import IDENTIFYING, MOST_FIELDS, Fields
from .redelivery import RedeliveryMetadata, attach_metadata, split_metadata
from .showing import excerpt

__all__ = [
    "IDENTIFYING",
    "MOST_FIELDS",
    "EntryEncoder",
    "Fields",
    "Origin",
    "RedeliveryMetadata",
    "Undecodable",
    "attach_metadata",
    "decode",
    "decode_all",
    "decode_as_foreign",
    "decode_entry",
    "excerpt",
    "is_envelope",
    "is_native_flat",
    "message_id",
    "split_metadata",
]
