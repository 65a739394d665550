"""Mistakes made on purpose: each a small patch to the code of this repository.

What is here is data. debugging.py applies and runs it, debugging.md explains it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """A training run of a few minutes with the real script.

    Attributes:
        script: which script, and its options.
        before: commands that prepare its data, each as arguments of Python.
    """

    script: str
    before: tuple[str, ...] = ()


# No augmentation, label smoothing or moving average, which could hide a mistake. So the loss starts
# at ln 10, and training and validation can be compared.
SAMPLE = "train_fashionmnist.py --sample --no-augment --label-smoothing 0 --ema-decay 0"
RUNS = {
    "googlenet": Run(f"{SAMPLE} --model googlenet --image-size 32 --dropout 0.4 --epochs 8"),
    "googlenet-heads": Run(f"{SAMPLE} --model googlenet --image-size 80 --limit 2000 --epochs 4"),
    "vgg16": Run(f"{SAMPLE} --model vgg16 --epochs 3"),
    "vgg16-plain": Run(f"{SAMPLE} --model vgg16 --no-batch-norm --epochs 3"),
    "frozen": Run(
        "train_catsdogs.py --data-dir photos --init checkpoints/fashionmnist_googlenet.pth "
        "--freeze-features --image-size 64 --no-augment --label-smoothing 0 --ema-decay 0",
        before=(
            "-m docs.probes photos clothes",
            "split_dataset.py clothes --output photos",
            "compute_mean_std.py photos",
        ),
    ),
}


@dataclass(frozen=True)
class Mistake:
    """A patch, and the run with which it is compared.

    Attributes:
        title: the mistake in a few words.
        part: the picture that shows it.
        run: a key of RUNS: the training to run with the mistake and without.
        file: the file that it changes.
        old, new: the text to replace, which occurs once in the file, and its replacement.
        test: the test that fails with the mistake; "" if none does.
        probe: the experiment of docs/probes.py that shows it, if the curves may not.
        stop_after: the number of epochs after which to interrupt and resume the run; 0: never.
    """

    title: str
    part: str
    run: str
    file: str
    old: str
    new: str
    test: str = ""
    probe: str = ""
    stop_after: int = 0


PARTS = {
    "network": "the network",
    "start": "initial weights and learning rates",
    "loop": "the training loop",
    "data": "images and labels",
}
LOGITS = "x = self.linear(self.dropout(x))"
KAIMING = 'nn.init.kaiming_normal_(module.weight, nonlinearity="relu")'
MISTAKES = {
    "softmax": Mistake(
        title="softmax before the cross-entropy",
        part="network",
        run="googlenet",
        file="models/googlenet.py",
        old=LOGITS,
        new="x = self.linear(self.dropout(x)).softmax(1)",
        test="tests/test_pretrained.py::test_googlenet_equals_torchvision",
    ),
    "no-relu": Mistake(
        title="no ReLU between convolutions",
        part="network",
        run="vgg16",
        file="models/vgg16.py",
        old='        layers[f"relu{name}"] = nn.ReLU(inplace=True)\n',
        new="        if index == len(widths):\n"
        '            layers[f"relu{name}"] = nn.ReLU(inplace=True)\n',
        test="tests/test_pretrained.py::test_vgg16_equals_torchvision",
    ),
    "width": Mistake(
        title="114 for 144 in inception 4d",
        part="network",
        run="googlenet",
        file="models/googlenet.py",
        old='"4d": InceptionWidths(112, 144, 288, 32, 64, 64)',
        new='"4d": InceptionWidths(112, 114, 288, 32, 64, 64)',
        test="tests/test_googlenet.py::test_parameter_totals",
        probe="parameters",
    ),
    "window": Mistake(
        title="3x3 for 5x5 in the inception modules",
        part="network",
        run="googlenet",
        file="models/googlenet.py",
        old="reduced_conv(in_channels, widths.n5x5_reduce, widths.n5x5, 5, batch_norm)",
        new="reduced_conv(in_channels, widths.n5x5_reduce, widths.n5x5, 3, batch_norm)",
        test="tests/test_googlenet.py::test_parameter_totals",
        probe="parameters",
    ),
    "heads": Mistake(
        title="the heads' loss without its weight",
        part="network",
        run="googlenet-heads",
        file="models/googlenet.py",
        old="return main + AUX_WEIGHT * sum(heads), outputs.logits",
        new="return main + sum(heads), outputs.logits",
        test="tests/test_googlenet.py::test_auxiliary_loss_weighs_heads_by_0_3",
    ),
    "dropout": Mistake(
        title="dropout in evaluation",
        part="network",
        run="googlenet",
        file="models/googlenet.py",
        old=LOGITS,
        new="x = self.linear(F.dropout(x, self.dropout.p))",
        test="tests/test_evaluate.py::test_fused_batch_norm_is_the_same_function",
        probe="twice",
    ),
    "init-small": Mistake(
        title="N(0, 0.01) through plain VGG16",
        part="start",
        run="vgg16-plain",
        file="models/layers.py",
        old=KAIMING,
        new="nn.init.normal_(module.weight, std=0.01)",
        test="tests/test_layers.py::test_initial_weights",
    ),
    "init-large": Mistake(
        title="N(0, 0.1) through plain VGG16",
        part="start",
        run="vgg16-plain",
        file="models/layers.py",
        old=KAIMING,
        new="nn.init.normal_(module.weight, std=0.1)",
        test="tests/test_layers.py::test_initial_weights",
    ),
    "rate-plain": Mistake(
        title="ten times the rate, no batch-norm",
        part="start",
        run="vgg16-plain",
        file="train_fashionmnist.py",
        old='"vgg16": {"lr": 4e-4}}',
        new='"vgg16": {"lr": 4e-3}}',
        test="tests/test_train_fashionmnist.py::test_plain_vgg16_leaves_the_plateau",
    ),
    "rate": Mistake(
        title="ten times the rate, batch-norm",
        part="start",
        run="vgg16",
        file="train_fashionmnist.py",
        old='"lr": 1e-3,  # a quarter of GoogLeNet\'s',
        new='"lr": 1e-2,  # a quarter of GoogLeNet\'s',
    ),
    "zero-grad": Mistake(
        title="forgotten zero_grad",
        part="loop",
        run="googlenet",
        file="engine/trainer.py",
        old="                    self.optimizer.zero_grad()\n",
        new="",
        test="tests/test_trainer.py::test_resume_is_bit_for_bit",
    ),
    "training-mode": Mistake(
        title="evaluation in training mode",
        part="loop",
        run="googlenet",
        file="engine/evaluate.py",
        old="    network = fuse_conv_bn(model)\n",
        new="    network = model\n",
        test="tests/test_evaluate.py::test_a_network_in_training_mode_is_judged_in_evaluation_mode",
        probe="batches",
    ),
    "optimizer": Mistake(
        title="an optimizer built for the old model",
        part="loop",
        run="googlenet",
        file="train_fashionmnist.py",
        old="args.optimizer, args.lr, args.weight_decay)\n",
        new="args.optimizer, args.lr, args.weight_decay)\n"
        "    model = create_model(name, **model_args)\n",
        test="tests/test_train_fashionmnist.py::test_plain_vgg16_leaves_the_plateau",
        probe="moved",
    ),
    "frozen-statistics": Mistake(
        title="frozen layers that update statistics",
        part="loop",
        run="frozen",
        file="engine/trainer.py",
        old="    network.train()\n"
        "    for module in network.modules():\n"
        "        parameters = list(module.parameters())\n"
        "        if parameters and not any(p.requires_grad for p in parameters):\n"
        "            module.eval()\n",
        new="    network.train()\n",
        test="tests/test_trainer.py::test_what_is_frozen_stays_in_evaluation_mode",
        probe="features",
    ),
    "resume": Mistake(
        title="resume without the optimizer's state",
        part="loop",
        run="googlenet",
        file="engine/trainer.py",
        old='            self.optimizer.load_state_dict(state["optimizer"])\n',
        new="",
        test="tests/test_trainer.py::test_resume_is_bit_for_bit",
        stop_after=3,
    ),
    "seed": Mistake(
        title="an order that ignores the seed",
        part="loop",
        run="googlenet",
        file="engine/seeding.py",
        old='    return seed_generator(torch.Generator(), derive_seed(seed, "order", epoch))\n',
        new="    generator = torch.Generator()\n    generator.seed()\n    return generator\n",
        test="tests/test_trainer.py::test_resume_is_bit_for_bit",
        probe="again",
    ),
    "divided-twice": Mistake(
        title="images divided by 255 twice",
        part="data",
        run="googlenet",
        file="data/transforms.py",
        old="return x.sub_(self.mean).div_(self.std)",
        new="return x.div_(255).sub_(self.mean).div_(self.std)",
        test="tests/test_transforms.py::test_transform_normalises_and_resizes",
        probe="inputs",
    ),
    "variance": Mistake(
        title="the variance for the deviation",
        part="data",
        run="googlenet",
        file="data/fashionmnist.py",
        old="MEAN, STD = (0.2860,), (0.3530,)",
        new="MEAN, STD = (0.2860,), (0.1246,)",
        test="tests/test_fashionmnist.py::test_mean_and_deviation_are_nearly_those_of_the_sample",
        probe="inputs",
    ),
    "prediction": Mistake(
        title="another normalisation in prediction",
        part="data",
        run="googlenet",
        file="engine/inference.py",
        old='BatchTransform(mean, std, metadata["image_size"]',
        new='BatchTransform([0.5], [0.5], metadata["image_size"]',
        test="tests/test_predict.py::test_predict_equals_validation",
        probe="prediction",
    ),
    "labels": Mistake(
        title="labels shuffled against images",
        part="data",
        run="googlenet",
        file="data/dataset.py",
        old="torch.as_tensor(self.labels[indices])",
        new="torch.as_tensor(self.labels[np.sort(indices, None).reshape(indices.shape)])",
        test="tests/test_dataset.py::test_an_index_gives_an_image_and_a_list_a_batch",
    ),
    "test-set": Mistake(
        title="test images in the training set",
        part="data",
        run="googlenet",
        file="data/fashionmnist.py",
        old='    images = read_set(folder, "train", sample)\n',
        new='    one, two = (read_set(folder, prefix, sample) for prefix in ("train", "t10k"))\n'
        "    pixels, labels = ((one.images, two.images), (one.labels, two.labels))\n"
        "    images = ImageDataset(np.concatenate(pixels), np.concatenate(labels), CLASSES)\n",
        test="tests/test_fashionmnist.py::test_split_of_fashionmnist_is_the_recorded_one",
        probe="tested",
    ),
}
