"""One aggregator as several processes over one ledger: who is there, who does what."""
