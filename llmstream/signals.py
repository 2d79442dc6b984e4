"""What happened, told after the transaction has committed.

Receivers run in a thread that does database work and may use the ORM. An exception in one is logged and disturbs
nothing. They are sent per message, generation and decision, never per token.
"""

from __future__ import annotations

from django.dispatch import Signal

#: ``sender=Message, message``: a message was added by a person or as an empty answer.
message_created = Signal()
#: ``sender=Generation, generation``: an owner has begun to run it.
generation_started = Signal()
#: ``sender=Generation, generation``: its process is gone or going, and another one will go on with it.
generation_recovered = Signal()
#: ``sender=Generation, generation``: it has its terminal event; ``generation.status`` says which.
generation_finished = Signal()
#: ``sender=None``: a process has looked after what others left, as it does every ``SWEEP_INTERVAL``. Sent on the event
#: loop: receivers must not block.
swept = Signal()
#: ``sender=ToolCall, tool_call``: it waits for somebody's decision, and its generation with it.
approval_requested = Signal()
#: ``sender=ToolCall, tool_call``: it was approved or denied, or nobody has decided in time; ``status`` says which.
approval_decided = Signal()
