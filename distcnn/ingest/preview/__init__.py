"""Looking at files before they are ingested: what a configuration makes of them, or a first one."""

from distcnn.ingest.preview.files import FilePreview, SpectrumPreview, preview_file
from distcnn.ingest.preview.text import describe_preview

__all__ = ["FilePreview", "SpectrumPreview", "describe_preview", "preview_file"]
