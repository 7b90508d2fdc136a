"""Check of the bound: how near the scatter of labels comes to the least that photons allow."""
