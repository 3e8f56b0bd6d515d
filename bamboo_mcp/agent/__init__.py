"""One run of one agent: ask the model, call its tools, merge steering, end exactly once.

May import: `domain`, `ports`. Start reading at `loop`.
"""
