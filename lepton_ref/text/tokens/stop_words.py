"""Words that are everywhere and say little: articles, pronouns, auxiliaries, particles.

The lists hold no negation (not, no, never, 不, 没): in a review it turns the sentence around.
"""

from __future__ import annotations

_EN = """
a about above after again all am an and any are as at be because been before being below
between both but by can could did do does doing down during each few for from further had has
have having he her here hers herself him himself his how i if in into is it its itself just me
more most my myself of off on once only or other our ours ourselves out over own same she should
so some such than that the their theirs them themselves then there these they this those through
to too under until up was we were what when where which while who whom why will with would you
your yours yourself yourselves i'm i've i'd i'll you're you've you'd you'll he's she's it's we're
we've they're they've that's there's
"""

_ZH = """
的 了 和 是 在 我 你 他 她 它 们 我们 你们 他们 她们 它们 自己 这 那 这个 那个 这些 那些 这里 那里
这样 那样 一个 一些 一种 之 与 及 或 或者 而 而且 并 并且 但 但是 因为 所以 因此 如果 虽然 就 都 也
还 又 再 才 只 把 被 让 给 对 对于 从 到 向 由 于 以 为 为了 以及 等 等等 着 过 得 地 吧 吗 呢 啊 呀
哦 嘛 啦 上 下 中 里 时 时候 什么 怎么 怎样 哪 哪里 谁 几 多少 将 其 其中 此 该 各 每 某 跟 同 比 像
"""

#: By language. Removing them helps counts; a network that reads in order keeps them.
STOP_WORDS: dict[str, frozenset[str]] = {
    "en": frozenset(_EN.split()),
    "zh": frozenset(_ZH.split()),
}
