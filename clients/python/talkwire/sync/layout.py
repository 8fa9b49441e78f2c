"""Where the words of a lock are, in bytes: spec/sync.md, section 3."""

KINDS = {"mutex": 1, "semaphore": 2, "rwlock": 3, "condition": 4, "barrier": 5, "event": 6, "once": 7}
KIND_WORD = 0x54570100
BYTES = 1024
SLOTTED = {"semaphore": 3072, "rwlock": 3072, "barrier": 2048}
LASTING = ("event", "once")
"""They say something even when nobody uses them."""

KIND, FLAGS, OWNER, FENCE, SINCE, DAMAGED, WAITING, SEQUENCE, HUNGRY, LIMIT, VALUE, DEATHS = 0, 4, 8, 16, 24, 32, 36, 40, 44, 48, 52, 56
LABEL = 64
LABEL_BYTES = 32
FAIR, COUNTING = 1, 2  # flags

PLACES = range(96, 96 + 32 * 29, 32)
WHO, MINE, BELL, WAITS_SINCE, RUNG, MODE = 0, 8, 12, 16, 24, 28  # of a place

NOTIFIED, GONE = 1, 2  # modes in a condition; 0: it waits

SLOT, SLOTS = 1024, 128
SLOT_SINCE = 2048
