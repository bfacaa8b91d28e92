"""A message as the fields of a stream entry, and back. Which entry is read or written, and when, is the store's.

Three kinds of entry:

- an *envelope*, written by `publish()` or by anybody who keeps to its few field names;
- a *foreign* entry: any other fields, from any client; its payload is the fields as text;
- a *carried* entry, in the redelivery streams and the dead letter queue only: one field `drs` with our
  metadata, then the original fields, verbatim.

Text is UTF-8 with surrogate escapes on this side, so that foreign bytes go back unharmed. Nothing is
unpickled, and nothing is imported by a name that came in a message.
"""

from .carried import Carried, carry, uncarry
from .decoding import (
    Origin,
    Undecodable,
    decode,
    decode_all,
    decode_as_foreign,
    decode_entry,
    is_envelope,
    is_flat_of_ours,
    message_id,
)
from .encoding import Form
from .names import MOST_FIELDS, Fields
from .showing import excerpt

__all__ = [
    "MOST_FIELDS",
    "Carried",
    "Fields",
    "Form",
    "Origin",
    "Undecodable",
    "carry",
    "decode",
    "decode_all",
    "decode_as_foreign",
    "decode_entry",
    "excerpt",
    "is_envelope",
    "is_flat_of_ours",
    "message_id",
    "uncarry",
]
