"""Where the edited model goes: a file name, and a question before the file that is open is replaced."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from gui.settings import Settings
from gui.workspace import Workspace

SUFFIX = "onnx"


def ask_where(workspace: Workspace, settings: Settings, parent: QWidget, *, fix_sizes: bool) -> None:
    """Ask for a file and have the model saved; ``fix_sizes`` writes the input sizes asked for into it."""
    folder = (
        Path(workspace.file).parent if workspace.file else Path(settings.text("folder", str(Path.home())))
    )
    dialog = QFileDialog(parent, "Save the model", str(folder), f"ONNX models (*.{SUFFIX})")
    dialog.setObjectName("file_dialog")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setFileMode(QFileDialog.FileMode.AnyFile)
    dialog.setDefaultSuffix(SUFFIX)
    dialog.selectFile(suggested_name(workspace, fix_sizes=fix_sizes))
    dialog.fileSelected.connect(partial(_save, workspace, parent, fix_sizes))
    dialog.open()


def suggested_name(workspace: Workspace, *, fix_sizes: bool) -> str:
    """``resnet50_edited.onnx``: never the name of the file that is open."""
    stem = Path(workspace.file).stem or "model"
    asked = workspace.configuration
    if asked is not None and asked.edits:
        stem += "_edited"
    if fix_sizes and asked is not None:
        stem += "_" + "_".join("x".join(map(str, given.shape)) for given in asked.inputs[:1])
    name = f"{stem}.{SUFFIX}"
    return f"{stem}_copy.{SUFFIX}" if name == Path(workspace.file).name else name


def _save(workspace: Workspace, parent: QWidget, fix_sizes: bool, path: str) -> None:
    if not workspace.is_open(path):
        workspace.save_model(path, fix_sizes=fix_sizes)
        return
    question = QMessageBox(parent)
    question.setObjectName("replace_dialog")
    question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    question.setWindowTitle("Replace the file that is open?")
    question.setText(f"{Path(path).name} is the model that is open.")
    question.setInformativeText(
        "Replaced, what it was before is lost: the edits cannot be undone any more, here or in the file."
    )
    replace = question.addButton("Replace it", QMessageBox.ButtonRole.AcceptRole)
    replace.setObjectName("replace_yes")
    cancel = question.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    cancel.setObjectName("replace_no")
    question.setDefaultButton(cancel)
    question.setEscapeButton(cancel)
    question.accepted.connect(partial(workspace.save_model, path, replace=True, fix_sizes=fix_sizes))
    question.open()
