"""DICOM in and out: finding and reading series, masks as DICOM SEG. Needs the extra ``dicom``."""
