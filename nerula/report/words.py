"""Words: what metrics, probes and data sets are called where people read them."""

from collections.abc import Mapping
from typing import Any

from nerula.leads import spoken
from nerula.report.charts import fixed, percent

METRICS = {
    "accuracy": ("Accuracy", "share of right answers"),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes of the share found"),
    "macro_f1": ("Macro F1", "mean over classes of the F1 score"),
    "weighted_f1": ("Weighted F1", "F1 of each class, weighted by its size"),
    "challenge_f1": ("Challenge F1", "mean F1 of normal, atrial fibrillation and other"),
    "challenge_score": ("Challenge score", "1: all right; 0: sinus rhythm said everywhere"),
    "auroc": ("AUROC", "chance that one of the class gets a higher score than one that is not"),
    "average_precision": ("Average precision", "area under precision over recall"),
    "brier": ("Brier score", "mean squared error of probabilities; 0 is perfect"),
    "mae": ("Mean absolute error", "in the unit of what is asked for"),
    "rmse": ("Root mean squared error", "in the unit of what is asked for"),
    "r2": ("R²", "share of the variance that is explained"),
    "rank1": ("Rank-1", "share of queries whose nearest recording is the same person's"),
    "alignment": ("Alignment of leads", "correlation between two leads, less the mean vector"),
    "alignment_own": ("Alignment, leads centred apart", "less the mean vector of each lead"),
    "alignment_shuffled": ("Alignment of strangers", "between leads of different recordings"),
    "lead_pearson": ("Correlation", "of a rebuilt lead with the measured one, mean over leads"),
    "lead_rmse": ("Root mean squared error", "of a rebuilt lead, in mV, mean over leads"),
    "lead_r2": ("R²", "share of a lead's variance that is explained, mean over leads"),
    "eer": ("Equal error rate", "where false matches and false non-matches are equally many"),
}
PROBES = {
    "svc": "SVC",
    "forest": "Random forest",
    "logistic": "Logistic regression",
    "ridge": "Ridge regression",
    "mlp": "MLP",
    "ensemble": "Ensemble of networks",
    "discriminant": "Discriminant of the gallery",
    "centred": "Cosine, centred",
    "cosine": "Cosine",
    "finetuned": "Fine-tuned network",
    "blended": "Network and regression, blended",
    **{
        f"{answer}-{source}": f"From lead {source}: {words}"
        for source in ("I", "II")
        for answer, words in (
            ("decoded", "decoders"),
            ("scaled", "one factor each"),
            ("filtered", "a filter each"),
            ("beat", "the mean beat"),
        )
    },
}
DATA = {
    "sample": "the bundled sample of PTB-XL",
    "ptbxl100": "PTB-XL",
    "ptbxl500": "PTB-XL",
    "challenge2017": "PhysioNet/CinC Challenge 2017",
    "challenge2020": "PhysioNet/CinC Challenge 2020",
    "challenge2021": "PhysioNet/CinC Challenge 2021",
    "ucihar": "UCI HAR",
    "ecgid": "ECG-ID",
    "joined": "two data sets, joined",
}
FILLINGS = {
    "masked": "hidden from the encoder",
    "zeros": "taken for zeros",
    "lines": "joined by straight lines",
}
STATEMENTS = {
    "NORM": "normal ECG", "SR": "sinus rhythm", "AFIB": "atrial fibrillation",
    "AFLT": "atrial flutter", "STACH": "sinus tachycardia", "SBRAD": "sinus bradycardia",
    "SARRH": "sinus arrhythmia", "PACE": "pacemaker", "SVTAC": "supraventricular tachycardia",
    "SVARR": "supraventricular arrhythmia", "PSVT": "paroxysmal supraventricular tachycardia",
    "BIGU": "bigeminy", "TRIGU": "trigeminy", "PVC": "ventricular extrasystoles",
    "PAC": "atrial extrasystoles", "CLBBB": "complete left bundle branch block",
    "CRBBB": "complete right bundle branch block", "ILBBB": "incomplete left bundle branch block",
    "IRBBB": "incomplete right bundle branch block", "LAFB": "left anterior fascicular block",
    "LPFB": "left posterior fascicular block", "IVCD": "intraventricular conduction delay",
    "1AVB": "first degree AV block", "2AVB": "second degree AV block",
    "3AVB": "third degree AV block", "WPW": "Wolff-Parkinson-White",
    "LVH": "left ventricular hypertrophy", "RVH": "right ventricular hypertrophy",
    "LAO/LAE": "left atrial enlargement", "RAO/RAE": "right atrial enlargement",
    "IMI": "inferior infarction", "AMI": "anterior infarction", "LMI": "lateral infarction",
    "ASMI": "anteroseptal infarction", "ALMI": "anterolateral infarction",
    "ILMI": "inferolateral infarction", "PMI": "posterior infarction",
    "ISC_": "ischaemic ST-T changes", "NDT": "unspecific T changes",
    "NST_": "unspecific ST changes", "STD_": "ST depression", "STE_": "ST elevation",
    "INVT": "inverted T waves", "LOWT": "low T waves", "NT_": "unspecific T changes",
    "ABQRS": "abnormal QRS", "QWAVE": "Q waves", "LPR": "long PR interval",
    "LNGQT": "long QT interval", "DIG": "digitalis effect", "HVOLT": "high QRS voltage",
    "LVOLT": "low QRS voltage", "VCLVH": "voltage criteria of left ventricular hypertrophy",
    "N": "normal", "A": "atrial fibrillation", "O": "other rhythm", "~": "too noisy",
}  # fmt: skip
"""Codes of PTB-XL and of the Challenge 2017 in words, as far as they are common."""


def metric(name: str) -> str:
    """A metric's name."""
    return METRICS[name][0] if name in METRICS else name.replace("_", " ").capitalize()


def probe(name: str) -> str:
    """A probe's name."""
    return PROBES.get(name, name)


def data(kind: str) -> str:
    """A data set's name."""
    return DATA.get(kind, kind)


def interval(held: Mapping[str, Any]) -> str:
    """Such as "0.71 (0.62 to 0.79)"."""
    return f"{fixed(held['value'])} ({fixed(held['low'])} to {fixed(held['high'])})"


def asked(document: Mapping[str, Any]) -> str:
    """A task's title, and what the models were given: such as "Sex, from lead I"."""
    way = document["way"]
    said = [document["task"]["title"]]
    said += [f"from {spoken(way['leads'])}"] if way.get("leads") else []
    said += [f"tested with {spoken(way['tested'])} alone"] if way.get("tested") else []
    return ", ".join(said)


def way(held: Mapping[str, Any]) -> str:
    """Such as "Random forest, 1 % of labels"."""
    said = [probe(held["probe"])]
    if held["labels"] < 1:
        said.append(f"{percent(held['labels'])} of labels")
    if held["gap"]:
        said.append(f"{percent(held['gap'])} missing, {FILLINGS[held['filling']]}")
    return ", ".join(said)


def group(by: str, name: str) -> str:
    """A subgroup, such as "40 to 59 years" or "female"."""
    if by != "age":
        return name
    return f"{name.replace('-', ' to ').replace(' and over', '')} years" + (
        " and over" if name.endswith("over") else ""
    )


def listed(items: list[str]) -> str:
    """Such as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
