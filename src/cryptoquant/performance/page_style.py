"""How a report's page looks: one style sheet for light and dark, wide and narrow, screen and paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5c6670;--line:#e3e6ea;--card:#f6f7f9;
--strategy:#0072b2;--benchmark:#8d959e;--down:#c2500a;--up:#0072b2;--price:#56606b;--buy:#00795b;--sell:#c2500a;--good:#00795b;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e9ec;--soft:#9aa4ae;--line:#2b3138;
--card:#1c2126;--strategy:#56b4e9;--benchmark:#858f99;--down:#e8833a;--up:#56b4e9;--price:#8b96a1;--buy:#2fc59a;
--sell:#f0903f;--good:#2fc59a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums lining-nums}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:17px;margin:40px 0 8px;break-after:avoid}
p{margin:4px 0;color:var(--soft)}
.verdict{border-left:4px solid var(--soft);background:var(--card);padding:12px 16px;margin:20px 0;
border-radius:0 6px 6px 0}
.verdict strong{font-size:17px}.verdict ul{margin:4px 0 0;padding-left:18px;color:var(--soft)}
.verdict.passed{border-color:var(--good)}.verdict.passed strong{color:var(--good)}
.verdict.failed{border-color:var(--bad)}.verdict.failed strong{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(3,1fr);gap:12px;margin:20px 0}
.card{background:var(--card);border-radius:6px;padding:12px 14px}
.card b{display:block;font-size:22px;line-height:1.3;font-weight:600}
.card span,.card small{display:block;color:var(--soft);font-size:13px}
.plot{padding:8px 26px 28px 62px}.plot>svg{display:block;overflow:visible}
.plot path{fill:none;stroke-width:1.4;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.grid line{stroke:var(--line);stroke-width:1;shape-rendering:crispEdges}
.letters text{fill:var(--soft);font-size:12px;text-anchor:middle}.letters .up{text-anchor:end}
.plot .strategy{stroke:var(--strategy);stroke-width:1.8}.plot .benchmark{stroke:var(--benchmark)}
.plot .base{stroke:var(--soft);stroke-dasharray:3 4;stroke-width:1}.plot .price{stroke:var(--price);stroke-width:1.2}
.plot .fallen{stroke:var(--down);fill:var(--down);fill-opacity:.22;stroke-width:1}
.plot .test{stroke:var(--strategy);stroke-width:4}.plot .train{stroke:var(--benchmark);stroke-width:2}
.plot .bars{fill:var(--strategy);fill-opacity:.75;stroke:var(--paper);stroke-width:1}
.buy{fill:var(--buy)}.sell{fill:var(--sell)}use{stroke:var(--paper);stroke-width:.8}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}.legend .sign{overflow:visible;margin-right:6px}
.swatch{display:inline-block;width:18px;height:3px;margin-right:6px;vertical-align:middle;background:var(--benchmark)}
.swatch.strategy,.swatch.test{background:var(--strategy)}.unit{font-size:12px}
figure{margin:12px 0 0;break-inside:avoid}figcaption{font-weight:600}figcaption small{font-weight:400;color:var(--soft)}
.wide-table{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}
.n{text-align:right;white-space:nowrap}.folds td:last-child,.folds th:last-child{text-align:left;white-space:normal}
.halves{display:grid;grid-template-columns:1fr 1fr;gap:0 32px;align-items:start}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.trades td{white-space:nowrap}.months th,.months td{padding:5px 7px}.total{font-weight:600}
.up1,.up2,.up3,.up4{--tone:var(--up)}.down1,.down2,.down3,.down4{--tone:var(--down)}
.up1,.down1{background:color-mix(in srgb,var(--tone) 9%,transparent)}
.up2,.down2{background:color-mix(in srgb,var(--tone) 18%,transparent)}
.up3,.down3{background:color-mix(in srgb,var(--tone) 28%,transparent)}
.up4,.down4{background:color-mix(in srgb,var(--tone) 40%,transparent)}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:12px;font-size:12.5px;color:var(--soft)}
@media (max-width:720px){main{padding:20px 14px 40px}.cards{grid-template-columns:1fr 1fr}
.halves{grid-template-columns:1fr}
.card b{font-size:19px}.plot{padding-left:52px;padding-right:18px}.letters .wide,.grid .wide{display:none}
h1{font-size:20px}.folds td:last-child{min-width:190px}
.evidence,.evidence tbody{display:block}.evidence thead{display:none}
.evidence tr{display:grid;grid-template-columns:1fr auto 64px 56px;padding:6px 0;border-bottom:1px solid var(--line)}
.evidence td{border:0;padding:1px 4px}.evidence td:last-child{grid-column:1/-1;color:var(--soft)}}
@media print{body{font-size:11px}main{max-width:none;padding:0}.wide-table{overflow:visible}section{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
