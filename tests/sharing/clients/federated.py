"""Trains, evaluates and describes data as a client of federated learning: python federated.py BUNDLE DATA."""

import sys
from pathlib import Path

import torch
from monai.fl.client import MonaiAlgo, MonaiAlgoStats
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

bundle, data = map(Path, sys.argv[1:])
settings = {"dataset_dir": str(data), "device": torch.device("cpu"), "precision": "fp32", "slices_per_volume": 2}
settings |= {"slice_size": 64, "patch_size": 64}
extra = {ExtraItems.CLIENT_NAME: "site", ExtraItems.APP_ROOT: str(bundle.parent)}
shipped = torch.load(bundle / "models/model.pt", weights_only=True)

# Who is not trained on; without it, all patients are scored.
evaluation = settings | {"val_datalist": "$@parts[1]"}
algo = MonaiAlgo(bundle_root=bundle.name, local_epochs=1, train_kwargs=settings, eval_kwargs=evaluation)
algo.initialize(extra)
assert algo.train_workflow.check_properties() == []
assert algo.eval_workflow.check_properties() == []
globally = {name: value.clone() for name, value in shipped.items()}
algo.train(ExchangeObject(weights=globally))
trained_on = {str(patient["image"]) for patient in algo.train_workflow.train_dataset_data}
update = algo.get_weights()
assert update.weight_type == WeightType.WEIGHT_DIFF
assert any(value.abs().sum() > 0 for value in update.weights.values())
assert algo.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights.keys() == shipped.keys()

# The weights that the server sends are scored, and not those of the bundle.
scores = dict(algo.evaluate(ExchangeObject(weights=globally)).metrics)
assert set(scores) == {"val_volume_dice", "val_volume_iou"}
for logit, found_any in ((-1.0, False), (1.0, True)):  # of every voxel
    weights = {name: torch.full_like(value, logit if name.endswith("bias") else 0.0) for name, value in shipped.items()}
    assert (algo.evaluate(ExchangeObject(weights=weights)).metrics["val_volume_dice"] > 0) == found_any
scored = {str(patient["image"]) for patient in algo.eval_workflow.parser.get_parsed_content("validate#dataset").data}
assert scored
assert not scored & trained_on
algo.finalize()

stats = MonaiAlgoStats(bundle_root=bundle.name, config_train_filename=["configs/train.json", "configs/site.json"])
stats.initialize(extra)
found = stats.get_data_stats({FlStatistics.HIST_BINS: [10, 10, 10], FlStatistics.HIST_RANGE: [[0, 300]] * 3}).statistics
assert found, found
print("statistics of", sorted(found))
