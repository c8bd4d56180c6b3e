"""The fact that the books take from an execution."""

from cryptoquant.trading.matching import Deal
from cryptoquant.trading.order import Fill, Liquidity, Order, Reason, execution_id


def fill_of(
    order: Order, number: int, lots: float, time: int, liquidity: Liquidity, deal: Deal, reason: Reason = ""
) -> Fill:
    """Return the fill number ``number`` (from 0) of an order: ``lots`` of it at ``time`` (ns)."""
    return Fill(
        order_id=order.id,
        execution_id=execution_id(order.id, number),
        profile=order.profile,
        symbol=order.symbol,
        side=order.side,
        lots=lots,
        price=deal.price,
        time=time,
        lots_change=deal.lots_change,
        cash_change=deal.cash_change,
        fee=deal.fee,
        slippage=deal.slippage,
        liquidity=liquidity,
        impact=deal.impact,
        reason=reason,
    )
