"""How a report's page looks: one style sheet for light and dark, wide and narrow, screen and paper; and its signs.

Whatever a colour says is also said by a shape, a dash or a word, so that a page without colours tells the same.
"""

SIGNS = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    '<path id="buy" d="M0-5.5L5 3.5H-5z"/><path id="sell" d="M0 5.5L5-3.5H-5z"/>'
    '<path id="stop" d="M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0z"/>'
    '<path id="failed" d="M-5-3L-3-5L0-2L3-5L5-3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0z"/>'
    '<path id="target" d="M0-5.5L5.5 0L0 5.5L-5.5 0z"/><path id="liquidation" d="M-4.5-4.5H4.5V4.5H-4.5z"/>'
    '<circle id="dot" r="4"/>'
    '<g id="alarm"><path class="alarm" d="M0-7.5L9 7.5H-9z"/><path class="stroke" d="M0-2.5V2.5M0 4.2V5.8"/></g>'
    "</defs></svg>"
)
COLOURS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5c6670;--line:#e3e6ea;--card:#f6f7f9;
--strategy:#0072b2;--benchmark:#8d959e;--down:#c2500a;--up:#0072b2;--price:#56606b;--buy:#00795b;--sell:#c2500a;
--good:#00795b;--bad:#b3261e;--warn:#8a5a00;--warn-paper:#fff6e0;--third:#8f4a9e}
@media screen and (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e9ec;--soft:#9aa4ae;--line:#2b3138;
--card:#1c2126;--strategy:#56b4e9;--benchmark:#858f99;--down:#e8833a;--up:#56b4e9;--price:#8b96a1;--buy:#2fc59a;
--sell:#f0903f;--good:#2fc59a;--bad:#ff8a80;--warn:#f2c14e;--warn-paper:#2a2415;--third:#cc8bd8}}
"""
LETTERS = """
*{box-sizing:border-box}html{scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums lining-nums}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:17px;margin:40px 0 8px;break-after:avoid}h3{font-size:14px;margin:20px 0 4px;break-after:avoid}
p{margin:4px 0;color:var(--soft)}header p,li{overflow-wrap:anywhere}
section{scroll-margin-top:8px}a{color:inherit}
a:focus-visible,.wide-table:focus-visible{outline:2px solid var(--strategy)}
nav{display:flex;flex-wrap:wrap;gap:6px;margin:20px 0 0;font-size:13px}
nav a{color:var(--soft);text-decoration:none;border:1px solid var(--line);border-radius:99px;padding:2px 11px}
nav a:hover{color:var(--ink);border-color:var(--soft)}
.verdict{border-left:4px solid var(--soft);background:var(--card);padding:12px 16px;margin:20px 0 12px;
border-radius:0 6px 6px 0}
.verdict strong{font-size:17px}.verdict ul{margin:4px 0 0;padding-left:18px;color:var(--soft)}
.verdict.passed{border-color:var(--good)}.verdict.passed strong{color:var(--good)}
.verdict.failed{border-left-style:double;border-left-width:6px;border-color:var(--bad)}
.verdict.failed strong{color:var(--bad)}
.alarms{list-style:none;margin:12px 0;padding:4px 16px;border:2px dashed var(--warn);border-radius:6px;
background:var(--warn-paper)}
.alarms li{display:flex;gap:10px;align-items:baseline;padding:6px 0}.alarms li+li{border-top:1px solid var(--line)}
.alarms svg{flex:none;overflow:visible;position:relative;top:2px}
.alarms b::after{content:":"}
.alarm{fill:var(--warn);stroke:none}.stroke{stroke:var(--warn-paper);stroke-width:2;fill:none}
.cards{display:grid;grid-template-columns:repeat(3,1fr);gap:12px;margin:20px 0}
.card{background:var(--card);border-radius:6px;padding:12px 14px}
.card b{display:block;font-size:22px;line-height:1.3;font-weight:600}
.card span,.card small{display:block;color:var(--soft);font-size:13px}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:12px;font-size:12.5px;color:var(--soft)}
.fingerprints{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:8px 0}
.fingerprints dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,monospace}
"""
PICTURES = """
.plot{padding:8px 26px 28px 62px}.plot>svg{display:block;overflow:visible}
.plot path{fill:none;stroke-width:1.4;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.plot>svg>use{vector-effect:none}
.grid line{stroke:var(--line);stroke-width:1;shape-rendering:crispEdges}
.letters text{fill:var(--soft);font-size:12px;text-anchor:middle}.letters .up{text-anchor:end}
.plot .strategy{stroke:var(--strategy);stroke-width:1.8}.plot .benchmark{stroke:var(--benchmark)}
.plot .base{stroke:var(--soft);stroke-dasharray:3 4;stroke-width:1}.plot .price{stroke:var(--price);stroke-width:1.2}
.plot .middle{stroke:var(--strategy);stroke-width:1}
.plot .fallen{stroke:var(--down);fill:var(--down);fill-opacity:.22;stroke-width:1}
.plot .held{stroke:var(--strategy);fill:var(--strategy);fill-opacity:.25;stroke-width:1}
.plot .test{stroke:var(--strategy);stroke-width:4}.plot .train{stroke:var(--benchmark);stroke-width:2}
.plot .learned{stroke:var(--benchmark);fill:var(--benchmark);fill-opacity:.28;stroke-width:1}
.plot .tested{fill:var(--strategy);stroke:var(--strategy);stroke-width:1}
.plot .embargo{stroke:var(--down);stroke-width:2;stroke-dasharray:2 2}
.plot .take{stroke:var(--buy);stroke-width:1.2}.plot .guard{stroke:var(--sell);stroke-width:1.2;stroke-dasharray:4 2}
.plot .fee{stroke:var(--strategy)}.plot .slippage{stroke:var(--down);stroke-dasharray:6 3}
.plot .impact{stroke:var(--third);stroke-dasharray:2 3}
.plot .bars{fill:var(--strategy);fill-opacity:.75;stroke:var(--paper);stroke-width:1}
.buy{fill:var(--buy)}.sell{fill:var(--sell)}.stop,.failed{fill:var(--bad)}.target{fill:var(--strategy)}
.liquidation{fill:var(--third)}.dot{fill:var(--strategy)}use{stroke:var(--paper);stroke-width:.8}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}.sign{overflow:visible}.legend .sign{margin-right:6px}
.swatch{display:inline-block;width:18px;height:0;margin-right:6px;vertical-align:middle;
border-top:3px solid var(--benchmark)}
.swatch.strategy,.swatch.test,.swatch.fee{border-color:var(--strategy)}
.swatch.slippage{border-top-style:dashed;border-color:var(--down)}
.swatch.impact{border-top-style:dotted;border-color:var(--third)}
.swatch.take{border-top-width:2px;border-color:var(--buy)}
.swatch.guard{border-top:2px dashed var(--sell)}.swatch.embargo{border-top:2px dashed var(--down)}
.swatch.learned{height:10px;border:1px solid var(--benchmark);
background:color-mix(in srgb,var(--benchmark) 28%,transparent)}
.swatch.tested{height:10px;border:0;background:var(--strategy)}
.swatch.limit{width:3px;height:13px;border:0;background:var(--ink)}
.swatch.own{width:0;height:13px;border:0;border-left:2px dashed var(--strategy)}
.unit{font-size:12px}
figure{margin:12px 0 0;min-width:0;break-inside:avoid}
figcaption{font-weight:600}figcaption small{font-weight:400;color:var(--soft)}
.bar{display:block;width:100%;height:12px;margin:4px 0}.bar rect{fill:var(--strategy);fill-opacity:.75}
.line{display:block;width:100%;height:18px;overflow:visible}.line line{shape-rendering:crispEdges}
.line .zero{stroke:var(--soft);stroke-width:1}.line .limit{stroke:var(--ink);stroke-width:3}
.line .own{stroke:var(--strategy);stroke-width:1.5;stroke-dasharray:3 3}
"""
TABLES = """
.wide-table{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}
.n{text-align:right;white-space:nowrap}
.folds{font-size:13px}.folds th,.folds td{padding:5px 4px}.folds td{white-space:nowrap}
.chosen{font-size:13px}.chosen td{white-space:nowrap}.chosen td:last-child{width:100%;white-space:normal;
overflow-wrap:anywhere}
.family th{padding-top:14px;color:var(--ink)}
.with-bars td:nth-child(2){width:100%;min-width:70px}.with-bars td:first-child{white-space:nowrap}
.stresses td:nth-child(2){width:38%;min-width:110px;padding:6px 18px}
.stresses td:nth-child(3),.evidence td:nth-child(4){white-space:nowrap}
.halves{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:0 32px;align-items:start}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.times td{white-space:nowrap}.months th,.months td{padding:5px 7px}.total{font-weight:600}
.up1,.up2,.up3,.up4{--tone:var(--up)}.down1,.down2,.down3,.down4{--tone:var(--down)}
.up1,.down1{background:color-mix(in srgb,var(--tone) 9%,transparent)}
.up2,.down2{background:color-mix(in srgb,var(--tone) 18%,transparent)}
.up3,.down3{background:color-mix(in srgb,var(--tone) 28%,transparent)}
.up4,.down4{background:color-mix(in srgb,var(--tone) 40%,transparent)}
"""
NARROW = """
@media screen and (max-width:720px){main{padding:20px 14px 40px}.cards{grid-template-columns:1fr 1fr}
.halves{grid-template-columns:minmax(0,1fr)}
.card b{font-size:19px}.plot{padding-left:52px;padding-right:18px}.letters .wide,.grid .wide{display:none}
th,td{padding:5px 7px}
.with-bars td:first-child{min-width:110px;white-space:normal;overflow-wrap:anywhere}
.dots,.stresses td:nth-child(2),.stresses th:nth-child(2){display:none}
.stresses,.stresses thead,.stresses tbody{display:block}.stresses td,.stresses th{border:0;padding:1px 4px}
.stresses tr{display:grid;font-size:12.5px;padding:5px 0;border-bottom:1px solid var(--line);
grid-template-columns:66px minmax(0,1fr) minmax(0,1fr) minmax(0,1.2fr) minmax(0,1.2fr)}
.stresses td:first-child,.stresses th:first-child{grid-column:1/-1;overflow-wrap:anywhere}
h1{font-size:20px}nav{gap:5px}.alarms{padding:4px 12px}
.evidence,.evidence tbody{display:block}.evidence thead{display:none}
.evidence tr{display:grid;grid-template-columns:1fr auto 64px 76px;padding:6px 0;border-bottom:1px solid var(--line)}
.evidence td,.evidence th{border:0;padding:1px 4px}.evidence td:last-child{grid-column:1/-1;color:var(--soft)}
.evidence .family{display:block}.evidence .family th{padding-top:10px}}
"""
PAPER = """
@media print{@page{margin:14mm}body{font-size:11px}main{max-width:none;padding:0}nav{display:none}
.wide-table{overflow:visible}table{font-size:9.5px}th,td{padding:3px 5px}.cards{gap:6px}.card b{font-size:16px}
h2{margin-top:22px}tr,.plot,figure,.verdict,.alarms,.card{break-inside:avoid}thead{display:table-header-group}
.legend,.unit,section>p{break-after:avoid}th{white-space:normal}
.folds th,.folds td{padding:2px 3px;font-size:8.5px}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
STYLE = COLOURS + LETTERS + PICTURES + TABLES + NARROW + PAPER
