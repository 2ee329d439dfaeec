"""What names may be used in a bundle: the list that everything the inspector finds is graded by."""

from __future__ import annotations

import re

from lgg_monai.sharing.inspect.findings import Grade

E, N, D = Grade.EXPECTED, Grade.NOTE, Grade.DANGEROUS


def words(text: str) -> set[str]:
    """Give the names that a text holds, parted by blanks."""
    return set(text.split())


def _named(grade: Grade, prefix: str, names: str) -> dict[str, Grade]:
    return {f"{prefix}.{name}": grade for name in names.split()}


# By dotted name, as defined and not as imported: the longest entry that a name begins with decides.
RULES: dict[str, Grade] = {
    # MONAI: what computes. Reading and writing images, checkpoints and logs where the config says is its job.
    "monai": N,
    **_named(
        E, "monai", "transforms networks losses metrics inferers handlers engines optimizers data visualize __version__"
    ),
    **_named(E, "monai.utils", "enums type_conversion dist ordering"),
    **_named(
        E,
        "monai.utils.misc",
        "set_determinism first ensure_tuple ensure_tuple_size ensure_tuple_rep fall_back_tuple is_scalar zip_with "
        "issequenceiterable list_to_dict to_tuple_of_dictionaries path_to_uri pprint_edges",
    ),
    **_named(D, "monai", "bundle auto3dseg fl apps _extensions"),
    **_named(D, "monai.losses", "perceptual"),  # fetches code
    **_named(D, "monai.transforms", "utils_create_transform_ims"),  # writes files
    **_named(N, "monai.transforms", "adaptors"),  # call things with arguments whose names are computed
    **_named(N, "monai.data", "dataset.CSVDataset iterable_dataset.CSVIterableDataset"),  # read from any address
    **_named(N, "monai.networks.nets.resnet", "get_pretrained_resnet_medicalnet"),  # network
    **_named(N, "monai.networks.nets", "torchvision_fc transchex"),  # network, by `weights` or in any case
    **_named(E, "monai.data.decathlon_datalist", "load_decathlon_datalist load_decathlon_properties"),
    # write texts of the bundle's choice into a file of any name
    **_named(N, "monai.data.decathlon_datalist", "create_cross_validation_datalist"),
    **_named(N, "monai.transforms.io", "array.WriteFileMapping dictionary.WriteFileMappingd"),
    **_named(
        E,
        "monai.apps",
        "detection.utils detection.metrics detection.transforms detection.networks pathology.transforms "
        "pathology.losses pathology.inferers pathology.engines generation vista3d nuclick.transforms deepedit "
        "deepgrow.transforms deepgrow.interaction reconstruction.transforms reconstruction.networks",
    ),
    # download, by an argument that is graded
    **_named(N, "monai.apps", "datasets DecathlonDataset MedNISTDataset CrossValidation"),
    "monai.auto3dseg.utils.datafold_read": E,
    **_named(E, "monai.utils.misc", "ImageMetaKey"),
    **_named(E, "monai.utils.module", "look_up_option min_version exact_version pytorch_after"),
    **_named(D, "monai.utils", "module jupyter_utils state_cacher component_store safeeval"),
    **_named(D, "monai.utils.misc", "run_cmd save_obj MONAIEnvVars"),
    **_named(D, "monai.handlers", "mlflow_handler clearml_handlers"),  # network
    **_named(N, "monai.handlers", "trt_handler"),
    # write texts of the bundle's choice into a file of any name, such as a module that Python finds next time
    **_named(N, "monai", "handlers.logfile_handler handlers.classification_saver data.csv_saver"),
    **_named(D, "monai.data.torchscript_utils", "save_net_with_metadata"),
    **_named(N, "monai.data", "torchscript_utils video_dataset dataset.LMDBDataset nvimgcodec_pydicom_plugin"),
    **_named(N, "monai.transforms.utility.array", "TorchVision TorchIO CuCIM RandCuCIM RandTorchVision"),
    **_named(
        N,
        "monai.transforms.utility.dictionary",
        "TorchVisiond RandTorchVisiond TorchIOd CuCIMd RandCuCIMd RandTorchIOd",
    ),
    **_named(
        N, "monai.networks", "trt_compiler utils.convert_to_torchscript utils.convert_to_onnx utils.convert_to_trt"
    ),
    **_named(D, "monai.networks.utils", "save_state"),
    # by computed names
    **_named(D, "monai.networks.utils", "replace_modules replace_modules_temp set_named_module simple_replace"),
    # PyTorch
    "torch": N,
    "torch._C": D,
    **_named(E, "torch", "nn optim utils.data amp linalg fft special distributions backends random"),
    **_named(E, "torch", "cuda.amp utils.checkpoint"),
    **_named(N, "torch", "utils.data.datapipes backends.xeon"),
    # Private by their names, and yet what others are to be derived from.
    **_named(E, "torch", "optim.lr_scheduler._LRScheduler nn.modules.loss._Loss nn.modules.batchnorm._BatchNorm"),
    **_named(
        E,
        "torch.cuda",
        "is_available device_count current_device set_device device empty_cache synchronize is_bf16_supported "
        "max_memory_allocated manual_seed manual_seed_all get_device_name",
    ),
    **_named(E, "torch.mps", "is_available"),
    **_named(E, "torch.accelerator", "is_available device_count current_accelerator"),
    **_named(
        E,
        "torch.distributed",
        "is_available is_initialized is_torchelastic_launched get_rank get_world_size barrier init_process_group "
        "destroy_process_group distributed_c10d.is_available distributed_c10d.is_initialized "
        "distributed_c10d.is_torchelastic_launched distributed_c10d.get_rank distributed_c10d.get_world_size "
        "distributed_c10d.barrier distributed_c10d.init_process_group distributed_c10d.destroy_process_group",
    ),
    **_named(
        D,
        "torch",
        "hub load save package jit fx onnx ops classes serialization from_file utils export multiprocessing "
        "distributed storage testing",
    ),
    # TorchScript has no operating system; what a bundle holds of it is graded by itself
    "torch.jit.load": E,
    **_named(N, "torch", "jit.script jit.trace jit.freeze compile utils.tensorboard"),
    **_named(
        E,
        "torch",
        "device dtype Size Tensor Generator autocast no_grad inference_mode enable_grad set_grad_enabled "
        "is_grad_enabled manual_seed seed float float16 float32 float64 half double bfloat16 int int8 int16 int32 "
        "int64 uint8 uint16 uint32 long short bool complex64 channels_last channels_last_3d contiguous_format "
        "preserve_format strided is_tensor is_floating_point tensor as_tensor from_numpy zeros ones full empty rand "
        "randn randint randperm arange linspace logspace eye zeros_like ones_like full_like empty_like rand_like "
        "randn_like cat concat concatenate stack hstack vstack split chunk squeeze unsqueeze reshape permute transpose "
        "movedim moveaxis flip rot90 roll tile repeat_interleave flatten unbind where masked_select gather "
        "index_select take nonzero argwhere topk sort argsort unique bincount add sub mul div matmul mm bmm dot einsum "
        "exp log log2 log10 log1p sqrt rsqrt square pow abs neg sign floor ceil round clamp clip sigmoid softmax "
        "log_softmax tanh relu sin cos erf sum mean median std var min max amin amax argmax argmin prod cumsum any all "
        "norm isnan isinf isfinite nan_to_num minimum maximum logical_and logical_or logical_not eq ne gt ge lt le "
        "equal allclose isclose meshgrid histc quantile nanquantile set_float32_matmul_precision "
        "get_float32_matmul_precision set_num_threads get_num_threads use_deterministic_algorithms finfo iinfo numel "
        "lerp ByteStorage version __version__ inf nan pi fill cdist trapezoid bernoulli normal multinomial",
    ),
    # NumPy
    "numpy": N,
    **_named(E, "numpy", "linalg random fft"),
    **_named(D, "numpy", "linalg.test random.test fft.test"),  # run what they find
    **_named(
        E,
        "numpy",
        "ndarray dtype array asarray ascontiguousarray zeros ones full empty zeros_like ones_like full_like empty_like "
        "arange linspace eye float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ bool "
        "floating integer number generic concatenate stack vstack hstack split squeeze expand_dims reshape transpose "
        "moveaxis swapaxes flip rot90 roll tile repeat pad where nonzero argwhere take sort argsort unique bincount "
        "histogram digitize searchsorted add subtract multiply divide matmul dot einsum exp log log2 log10 log1p sqrt "
        "square power abs absolute sign floor ceil round rint clip sum mean median std var min max amin amax argmax "
        "argmin prod cumsum any all isnan isinf isfinite nan_to_num minimum maximum logical_and logical_or logical_not "
        "equal not_equal greater less allclose isclose array_equal meshgrid percentile quantile nanmean nanmedian "
        "nanstd nanmin nanmax nanpercentile pi inf nan newaxis finfo iinfo interp diff gradient sin cos arctan2 hypot "
        "deg2rad rad2deg tanh maximum minimum diag trace cross outer inner count_nonzero ptp __version__ array_split "
        "atleast_1d atleast_2d atleast_3d isin intersect1d union1d setdiff1d random ix_ indices ravel triu tril "
        "errstate asanyarray float_power mod remainder floor_divide sinc hanning convolve",
    ),
    **_named(
        D,
        "numpy",
        "load save savez savez_compressed savetxt loadtxt genfromtxt fromfile fromregex memmap DataSource f2py "
        "distutils ctypeslib testing lib compat core _pytesttester test show_config lib.format open_memmap rec",
    ),
    # Ignite
    "ignite": N,
    **_named(E, "ignite", "metrics engine exceptions"),
    **_named(N, "ignite.metrics", "gan"),  # download weights
    **_named(
        N,
        "ignite.handlers",
        "clearml_logger mlflow_logger neptune_logger polyaxon_logger visdom_logger wandb_logger fbresearch_logger",
    ),
    **_named(
        E,
        "ignite.handlers",
        "ema_handler early_stopping lr_finder param_scheduler terminate_on_nan timing time_limit tqdm_logger",
    ),
    # This package: what its configs are made of. Not its writing of any text to any file, its commands or its download.
    "lgg_monai": D,
    **_named(E, "lgg_monai", "data engines transforms networks prediction"),
    **_named(E, "lgg_monai", "errors.LggError errors.exits_with_one_line seeds"),
    **_named(E, "lgg_monai.engines.checkpoints", "load_weights"),
    **_named(D, "lgg_monai.data", "download convert phantom"),
    # Python
    **_named(E, "sys", "stderr stdout platform version_info maxsize float_info version stderr.isatty stdout.isatty"),
    "sys.exit": E,  # says why, and ends
    **dict.fromkeys(
        ("math", "cmath", "__future__", "typing", "collections", "numbers", "enum", "dataclasses", "abc"), E
    ),
    **_named(E, "collections", "OrderedDict defaultdict deque Counter namedtuple"),
    "_collections_abc": E,
    "sys": D,
    "os": D,
    "os.path": N,
    "glob": N,
    **_named(E, "glob", "glob iglob escape"),  # file names only, as every bundle looks for its images
    **dict.fromkeys(
        ("itertools", "functools", "copy", "time", "datetime", "re", "random", "string", "statistics", "decimal"), N
    ),
    **dict.fromkeys(
        ("fractions", "warnings", "contextlib", "types", "json", "textwrap", "bisect", "heapq", "uuid", "hashlib"), N
    ),
    **_named(D, "types", "FunctionType LambdaType CodeType ModuleType"),
    **_named(D, "typing", "get_type_hints ForwardRef"),  # evaluate annotations that are text, as does:
    **_named(D, "functools", "singledispatch singledispatchmethod"),
    **_named(D, "functools", "update_wrapper"),  # copies attributes that a text names, as does wraps
    **_named(N, "dataclasses", "make_dataclass"),
    **_named(D, "enum", "global_enum"),  # writes into a module
    **_named(D, "string", "Formatter"),
    **_named(E, "json", "loads dumps JSONDecodeError"),
    **_named(D, "json", "load dump"),
    **_named(E, "datetime", "datetime date timedelta timezone"),
    "operator": D,
    **_named(E, "operator", "lt le gt ge eq ne add sub mul truediv floordiv mod neg itemgetter"),
    **_named(
        E,
        "itertools",
        "chain product repeat count accumulate combinations permutations islice zip_longest starmap cycle",
    ),
    **_named(E, "functools", "partial wraps lru_cache cache cached_property total_ordering reduce"),
    **_named(E, "time", "time perf_counter monotonic"),
    **_named(E, "copy", "copy deepcopy"),
    **_named(E, "warnings", "warn"),
    **_named(E, "contextlib", "nullcontext suppress contextmanager"),
    **_named(E, "logging", "getLogger info debug warning error INFO DEBUG WARNING ERROR Logger"),
    "logging": N,
    **_named(D, "logging", "config handlers FileHandler basicConfig"),
    **_named(E, "os", "access sep cpu_count"),  # asks what may be written, and changes nothing
    **_named(E, "os.path", "join split basename dirname splitext abspath normpath relpath exists isfile isdir isabs"),
    **_named(E, "posixpath", "join basename dirname splitext abspath"),
    # Packages that imaging code is commonly made of; they also read and write files, so a reader has to judge.
    **dict.fromkeys(
        ("scipy", "skimage", "nibabel", "einops", "itk", "PIL", "cv2", "pandas", "sklearn", "matplotlib", "tqdm"), N
    ),
    **_named(D, "pandas", "eval read_pickle to_pickle io.pickle core.computation"),
    **_named(D, "PIL", "ImageMath ImageShow"),
    **dict.fromkeys(("SimpleITK", "pydicom", "torchvision", "timm", "transformers"), N),
}

# Functions that are safe only if called with this argument.
SAFE_WITH = {"torch.serialization.load": ("weights_only", True), "torch.load": ("weights_only", True)}
# Functions that are safe only if called with a single argument.
SAFE_ALONE = {"functools.wraps"}
# Functions with these beginnings move data, unless a rule names them.
MOVES_DATA = re.compile(r"(?:write|save|dump|download|export|load|read|fetch|unlink|remove_f|copy_f)")
# Classes that look up a text among all that is installed and call it: in code only with plain arguments.
LOOKS_UP = words(
    "LoadImage LoadImaged LoadImageD LoadImageDict SaveImage SaveImaged SaveImageD SaveImageDict PatchInferer "
    "ImageDataset"
)
# Arguments that turn something harmless into something that runs code or goes to the network: name, value, grade, why.
ARGUMENTS: dict[str, tuple[object, Grade, str]] = {
    "weights_only": (False, D, "unpickles whatever the file holds"),
    "allow_pickle": (True, D, "unpickles whatever the file holds"),
    "trust_remote_code": (True, D, "runs code from the network"),
    "_debug_": (True, D, "opens the debugger"),
    "pretrained": (True, N, "downloads weights in most networks"),
    "download": (True, N, "goes to the network"),
    "init_method": (None, D, "connects to an address of the bundle's choice"),
    "pretrained_url": (True, N, "goes to the network"),
}
# The same by position: classes, and how many arguments may stand in front of it.
UNPICKLES_BEHIND = {"NumpyReader": 2, "PersistentDataset": 9}
# Networks that download weights unless `pretrained` says not to.
DOWNLOADS = words("EfficientNetBN EfficientNetBNFeatures FCN MCFCN MILModel ResNetFeatures TextEncoder")
# Strings of these keys are looked up by MONAI as the name of a class and called.
LOOKED_UP = {"_target_", "reader", "writer", "merger_cls", "workflow_name", "encoder_name"}

# The names of files that no program runs and that one does, for what writes any text into a file.
PROGRAM_FILE = re.compile(r"(?:.*[/\\])?(?:\.[^/\\]*|[^/\\]*\.(?:pyw?|pth|sh|bat|cmd|ps1|js|conf))", re.IGNORECASE)
DATA_FILE = re.compile(r"[\w./ -]*\w\.(?:csv|tsv|txt|log|json|nii|gz|dcm|png|jpe?g|tiff?|npy|mha|nrrd|h5|svs|pt|ts)")
CONFIG_FILE = re.compile(r".*\.(?:json|ya?ml)", re.IGNORECASE)
WRITES_TEXT = words(
    "LogfileHandler ClassificationSaver CSVSaver WriteFileMapping WriteFileMappingd WriteFileMappingD "
    "WriteFileMappingDict create_cross_validation_datalist"
)

# What is graded by the arguments that stand with it, and so cannot be handed on to be called with others.
DEPENDS = LOOKS_UP | WRITES_TEXT | set(UNPICKLES_BEHIND) | {"init_process_group"}

# Texts that lead out of the bundle.
OUTSIDE = re.compile(r"(?s)~|(?:/|~|\\\\|[A-Za-z]:[\\/])\S.*|(?:.*[\\/])?\.\.(?:[\\/].*)?")
ADDRESS = re.compile(r"(?s)[A-Za-z][A-Za-z0-9+.-]*://\S.*")
# Networks of these packages download weights by an argument that may also be given by its position.
MAY_DOWNLOAD = ("monai.networks.nets.", "monai.apps.", "monai.bundle.")

# Importing these says nothing yet: each use of them is graded by itself.
IMPORTABLE = words(
    "monai torch torch.distributed numpy ignite lgg_monai sys itertools functools copy time warnings typing contextlib "
    "string types re random datetime statistics logging glob"
)
# The same, but of these so much is dangerous that the import is worth a look.
IMPORTABLE_WITH_A_NOTE = {"os", "operator"}


def graded(name: str) -> Grade | None:
    """Grade a dotted name by the longest rule that it begins with; None where no rule speaks of its package."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        grade = RULES.get(".".join(parts[:count]))
        if grade is not None:
            return grade
    return None
