"""The loop and its parts: launching, telling, leases, quarantine, recovery, ending, budget."""
