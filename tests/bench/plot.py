"""A figure of one measured series as SVG: points, a straight line through them or none, and axes from 0."""

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 620, 40, 250
HEAD = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui,sans-serif" font-size="12">')


def ticks(most):
    """Four to eight round numbers from 0 to at least `most`."""
    step = 10.0 ** -6
    while most / step > 8:
        step = next(step * k for k in (2, 5, 10) if most / (step * k) <= 8 or k == 10)
    return [step * i for i in range(int(most / step) + 2)]


def number(v):
    return f"{v:.6g}"


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#64707d"{more}>{words}</text>'


def series(path, title, axes, points, line=None, notes=()):
    """points: [(x, y)]; axes: (x label, y label); line: (y at 0, slope); notes: words on the right."""
    across, up = ticks(max(x for x, _ in points)), ticks(max(y for _, y in points))

    def at(x, y):
        return LEFT + (RIGHT - LEFT) * x / across[-1], BOTTOM - (BOTTOM - TOP) * y / up[-1]

    out = [HEAD, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="20" font-size="14" font-weight="600" fill="#1d2733">{title}</text>',
           text(LEFT, 36, axes[1]), text((LEFT + RIGHT) / 2, 290, axes[0], ' text-anchor="middle"')]
    for v in up:
        y = at(0, v)[1]
        out.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6eaef"/>')
        out.append(text(LEFT - 6, y + 4, number(v), ' text-anchor="end"'))
    out += [text(at(v, 0)[0], BOTTOM + 18, number(v), ' text-anchor="middle"') for v in across]
    if line:
        ends = [at(x, line[0] + line[1] * x) for x in (0, max(x for x, _ in points))]
        out.append('<polyline fill="none" stroke="#9db7d6" stroke-width="2" points="'
                   + " ".join(f"{x:.1f},{y:.1f}" for x, y in ends) + '"/>')
    for x, y in (at(*p) for p in points):
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2b6cb0"/>')
    out += [text(RIGHT, BOTTOM - 12 - 16 * i, words, ' text-anchor="end"') for i, words in enumerate(notes)]
    with open(path, "w", encoding="utf-8") as svg:
        svg.write("\n".join([*out, "</svg>"]) + "\n")
