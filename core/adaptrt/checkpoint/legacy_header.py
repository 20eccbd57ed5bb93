"""What a file of torch before 1.6 starts with, and how much of it is read at a time."""

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
BUFFER = 1 << 20  # bytes; the tensors behind an outline are never read
