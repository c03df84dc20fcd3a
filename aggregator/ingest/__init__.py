"""From the broker into the store: checked in a fixed order, accounted for, receipted."""
