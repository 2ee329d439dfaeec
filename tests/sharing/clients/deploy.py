"""Predicts with the bundle operator of MONAI Deploy's App SDK: python deploy.py BUNDLE SCAN OUTPUT.

BUNDLE is its folder, or its `model.ts` alone. SCAN is a 4D NIfTI file, whose array goes to the operator, and OUTPUT the
NIfTI file for the mask. Or SCAN is a folder of DICOM files, and a whole app chooses the FLAIR series in it and writes a
DICOM SEG into the folder OUTPUT.
"""
# ruff: noqa: E402 - a library has to be loaded before the SDK is imported

import ctypes
import json
import sys
import sysconfig
from pathlib import Path

# Holoscan needs CUDA's runtime library, also where there is no GPU; pip put it where the loader does not look.
ctypes.CDLL(str(Path(sysconfig.get_path("purelib"), "nvidia/cu13/lib/libcudart.so.13")), mode=ctypes.RTLD_GLOBAL)

import nibabel
import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType, Operator
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator
from pydicom.sr.codedict import codes

bundle, scan, output = map(Path, sys.argv[1:])
FLAIR = {"selections": [{"name": "FLAIR", "conditions": {"Modality": "MR", "SeriesDescription": "(?i).*flair.*"}}]}


class Source(Operator):
    """Emits a NIfTI file's array [X, Y, Z, sequence], turned to RAS, as which the operator takes one without affine."""

    def setup(self, spec):
        spec.output("image")

    def compute(self, op_input, op_output, context):
        op_output.emit(np.asarray(nibabel.as_closest_canonical(nibabel.load(scan)).dataobj, np.float32), "image")


class Sink(Operator):
    """Writes the mask, which comes as [Z, Y, X]."""

    def setup(self, spec):
        spec.input("mask")

    def compute(self, op_input, op_output, context):
        mask = op_input.receive("mask").asnumpy().transpose()
        nibabel.save(nibabel.Nifti1Image(mask, nibabel.as_closest_canonical(nibabel.load(scan)).affine), output)


class BundleApp(Application):
    """An app around the bundle; the names of its input and output are those of its metadata."""

    def compose(self):
        infer = MonaiBundleInferenceOperator(
            self,
            app_context=AppContext({}),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=bundle,
            name="infer",
        )
        once = CountCondition(self, 1)
        if scan.is_file():
            self.add_flow(Source(self, once, name="source"), infer, {("image", "image")})
            self.add_flow(infer, Sink(self, name="sink"), {("pred", "mask")})
            return
        load = DICOMDataLoaderOperator(self, once, input_folder=scan, name="load")
        select = DICOMSeriesSelectorOperator(self, rules=json.dumps(FLAIR), name="select")
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        tumour = SegmentDescription(
            segment_label="tumour",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_name=bundle.name,
            algorithm_version=json.loads((bundle / "configs/metadata.json").read_text())["version"],
        )
        write = DICOMSegmentationWriterOperator(
            self,
            segment_descriptions=[tumour],
            output_folder=output,
            custom_tags={"SeriesDescription": f"tumour, {bundle.name}"},
            name="write",
        )
        series = ("study_selected_series_list", "study_selected_series_list")
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {series})
        self.add_flow(volume, infer, {("image", "image")})
        self.add_flow(select, write, {series})
        self.add_flow(infer, write, {("pred", "seg_image")})


BundleApp().run()
