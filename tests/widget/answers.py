"""What models write in these tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from llmstream.providers.base import Finish, ProviderRequest, ReasoningDelta
from tests.demo.answers import has_enough


async def echo(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say what was said last."""
    yield f"Said: {request.messages[-1].content}"
    yield Finish("stop")


#: What models use, and what is hard to read a piece at a time.
MARKDOWN = """\
# A plan

Some **bold**, *slanted*, ~~gone~~ and `code` text, a [link](https://example.com/a_(b) "Title"), and
<https://example.org>. A [reference][r] and an entity: &copy; &#8212; &amp;.

- one
- two

  with a second paragraph

  ```python
  def two(): return "**2**"
  ```
- three
  1. nested
  2. list

2. starts
3. at two

> A quote
> of two lines

| Fruit | Price |
|:------|------:|
| Apple | 1.20 |
| Pear  | 0.80 |

```python
for word in answer.split():
    print(word)
```

- [x] done
- [ ] to do

שלום עולם

---

Line one\\
line two. The end of *it*.

[r]: https://example.net/reference
"""

#: Formulas, as models write them, and what is none.
FORMULAS = r"""Let $x^2 + y^2 = r^2$ for $5 and \(a_{ij}\) in

\[
\frac{1}{2}
- \sqrt{x}
\]

- an item with $$E = mc^2$$ in it

`$code$` stays.
"""

#: What must stay text, however it is cut.
HOSTILE = """\
<script>globalThis.harmed = true</script>
<img src="/harm/html" onerror="globalThis.harmed = true">

An ![image](/harm/inline "title"), ![another][ref] and <img src=x onerror="globalThis.harmed = true"> inline.

[one](javascript:globalThis.harmed=true) [two](JaVaScRiPt&colon;alert(1)) [three](&#106;avascript:alert(1))
[four](data:text/html,<script>1</script>) [five](vbscript:x) [six](<java
script:alert(1)>) [seven](//example.com/x) <javascript:alert(1)>

<style>body { background: url(/harm/style) }</style>
<a href="javascript:alert(1)" style="position:fixed">html link</a>
<iframe src="/harm/frame"></iframe><svg onload="globalThis.harmed = true"></svg>

```html"><script>globalThis.harmed = true</script>
<b>code</b>
```

| <img src=/harm/cell onerror=1> | [x](javascript:1) |
|---|---|
| a | b |

[ref]: /harm/reference
"""


async def held(request: ProviderRequest) -> AsyncGenerator[Any, None]:
    """Say half of it, and the rest once a test has seen enough."""
    yield ReasoningDelta("Let me *see*.")
    yield MARKDOWN[: len(MARKDOWN) // 2]
    while not has_enough(request):
        await asyncio.sleep(0.02)
    yield MARKDOWN[len(MARKDOWN) // 2 :]
    yield Finish("stop")
