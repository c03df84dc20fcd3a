"""What crosses a wire or rests on a disk: names, schemas, seals. No I/O, no clock, no threads.

The modules follow docs/protocol.md section by section.
"""
