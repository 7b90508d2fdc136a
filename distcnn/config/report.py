"""Settings of the report page."""

from pydantic import Field

from distcnn.config.base import Frozen


class ReportConfig(Frozen):
    """One self-contained HTML page."""

    spectra: int = Field(6, ge=0)
    """Example spectra shown."""
    baselines: bool = True
    """Train ridge and photometry-only baselines on the same split for comparison."""
    snr_edges: tuple[float, ...] = (
        15.0,
        25.0,
        50.0,
        100.0,
    )
    """Edges of the S/N bins in tables and figures."""
