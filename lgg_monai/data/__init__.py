"""Finding, checking, reading and splitting patients, and the slices of their volumes."""

from lgg_monai.data.ahead import AheadDataLoader
from lgg_monai.data.datalist import default_dataset_dir, evaluation_datalist, inference_datalist, prepare_datalist
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.data.slices import SliceDataset, TumourSliceSampler, gathered
from lgg_monai.data.tiff_stack import TiffStackReader
from lgg_monai.data.volume_cache import default_cache_dir
from lgg_monai.data.volumes import VolumeDataset, check_cache

__all__ = [
    "AheadDataLoader",
    "Patient",
    "SliceDataset",
    "TiffStackReader",
    "TumourSliceSampler",
    "VolumeDataset",
    "check_cache",
    "default_cache_dir",
    "default_dataset_dir",
    "evaluation_datalist",
    "find_patients",
    "gathered",
    "inference_datalist",
    "prepare_datalist",
    "read_patient",
]
