#pragma once

#include <string_view>

namespace tetrad {

/// The page's style sheet: light and dark, readable on a phone and on paper.
inline constexpr std::string_view kEvalReportStyle = R"(
:root {
  color-scheme: light dark;
  --page: #f9f9f7; --surface: #fcfcfb; --ink: #0b0b0b; --ink-2: #52514e; --muted: #73726d;
  --grid: #e1e0d9; --axis: #b5b3aa; --border: #0b0b0b1a; --mark: #fde68a; --mark-ink: #0b0b0b;
  --series-1: #2a78d6; --series-2: #c2541f; --series-3: #14835b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d0d0d; --surface: #1a1a19; --ink: #ffffff; --ink-2: #c3c2b7; --muted: #9a9991;
    --grid: #2c2c2a; --axis: #55544f; --border: #ffffff1a; --mark: #6b5200; --mark-ink: #ffffff;
    --series-1: #5598e7; --series-2: #e8834f; --series-3: #2fb583;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3, figcaption { font-size: 1rem; font-weight: 600; margin: 0 0 .5rem; }
p { max-width: 46rem; margin: 0 0 .75rem; }
.lead, .note { color: var(--ink-2); }
.note { font-size: .875rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em;
  overflow-wrap: anywhere; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr));
  margin: 1.25rem 0; padding: 0; }
.tiles div, figure, .worst > li { background: var(--surface); border: 1px solid var(--border);
  border-radius: .5rem; padding: .75rem 1rem; }
.tiles dt { color: var(--ink-2); font-size: .875rem; }
.tiles dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
.tiles dd.note { font-size: .8rem; font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--ink-2); font-size: .875rem; padding-bottom: .4rem; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid var(--grid);
  white-space: nowrap; vertical-align: top; }
th { color: var(--ink-2); font-weight: 600; }
thead th { white-space: normal; vertical-align: bottom; }
th:first-child { text-align: left; }
th:first-child { padding-left: 0; }
.scroll + .scroll { margin-top: 1.25rem; }
tr.all td, tr.all th { font-weight: 600; color: var(--ink); }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; }
figure p { margin: .4rem 0 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--muted); }
svg text.label { fill: var(--ink-2); }
svg .power { font-size: 9px; }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--axis); stroke-width: 1; }
.mark { stroke: var(--ink-2); stroke-width: 1; stroke-dasharray: 3 3; }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dot { fill: currentColor; stroke: var(--surface); stroke-width: 1; }
.bar { fill: currentColor; }
.series-1 { color: var(--series-1); } .series-2 { color: var(--series-2); }
.series-3 { color: var(--series-3); }
.series-2 .line { stroke-dasharray: 6 3; } .series-3 .line { stroke-dasharray: 2 3; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 0 0 .25rem;
  padding: 0; font-size: .85rem; }
.legend svg { display: inline-block; width: 1.9rem; height: .7rem; margin-right: .4rem; }
.legend span { color: var(--ink-2); }
.worst { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem; }
.worst p { margin: 0 0 .4rem; max-width: none; }
.worst .text { white-space: pre-wrap; overflow-wrap: anywhere; color: var(--ink-2);
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; margin: 0; }
mark, .token { background: var(--grid); border-radius: .2rem; padding: 0 .15rem; color: var(--ink); }
mark { background: var(--mark); color: var(--mark-ink); white-space: pre-wrap; }
.token { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--ink-2); margin: 1rem 0 .5rem; }
.terms dt { font-weight: 600; margin-top: .6rem; }
.terms dd { margin: 0; color: var(--ink-2); max-width: 46rem; }
@media print { details > * { display: block; } }
)";

}  // namespace tetrad
