"""Tasks: work on a VM that a client starts and waits for. One at a time on each VM. A task
goes through queued and running, with progress, to success or error, in its own thread."""

import threading
import time

from .soap import Fault, completed
from .values import Enum, Obj, Ref, now, refs

DESCRIPTIONS = {
    "CreateSnapshot_Task": "VirtualMachine.createSnapshot",
    "RemoveSnapshot_Task": "vim.vm.Snapshot.remove",
    "RemoveAllSnapshots_Task": "VirtualMachine.removeAllSnapshots",
    "ReconfigVM_Task": "VirtualMachine.reconfigure",
    "Rename_Task": "VirtualMachine.rename",
    "PowerOffVM_Task": "VirtualMachine.powerOff",
    "PowerOnVM_Task": "VirtualMachine.powerOn",
}


class Task:
    def __init__(self, world, op, vm, user, work, rule):
        self.world, self.op, self.vm, self.user = world, op, vm, user
        self.work, self.rule = work, rule
        self.id = world.new_id("task")
        self.state, self.progress, self.result, self.error = "queued", None, None, None
        self.queued, self.started, self.ended = now(), None, None
        self.release = threading.Event()  # lets one go that a rule holds
        self.canceled = False

    def ref(self):
        return Ref("Task", self.id)

    def properties(self):
        return {"info": self.info, "customValue": lambda: None, "value": lambda: None}

    def info(self):
        return Obj(
            "TaskInfo",
            key=self.id,
            task=self.ref(),
            description=None,
            name=self.op,
            descriptionId=DESCRIPTIONS.get(self.op, self.op),
            entity=Ref("VirtualMachine", self.vm.id),
            entityName=self.vm.name,
            state=Enum("TaskInfoState", self.state),
            cancelled=self.canceled,
            cancelable=self.rule is not None,
            error=self.error.localized() if self.error else None,
            result=self.result,
            progress=self.progress,
            reason=Obj("TaskReasonUser", derived=True, userName=self.user),
            queueTime=self.queued,
            startTime=self.started,
            completeTime=self.ended,
            eventChainId=1,
        )

    def set(self, state=None, progress=None):
        self.state = state or self.state
        if progress is not None:
            self.progress = progress
        self.world.notify()

    def run(self):
        rule, settings = self.rule or {}, self.world.settings
        try:
            self.wait("queued", settings["task_queued"])
            self.started = now()
            self.set("running", 0)
            seconds = rule.get("seconds", 0) + settings["task_seconds"]
            steps = max(1, min(20, int(seconds / 0.05)))
            for step in range(steps):
                time.sleep(seconds / steps)
                self.set(progress=100 * step // steps)
            self.wait("stuck", 0)
            if rule.get("how") == "fault":
                ref = Ref("VirtualMachine", self.vm.id)
                members = rule.get("members", {})
                raise completed(rule["fault"], rule.get("message"), members, ref, self.op)
            self.result = self.work()
            self.end("success")
        except Fault as e:
            self.error = e
            self.end("error")
        except Exception as e:
            self.error = Fault("SystemError", "%s: %s" % (type(e).__name__, e), reason=str(e))
            self.end("error")

    def wait(self, how, seconds):
        time.sleep(seconds)
        if (self.rule or {}).get("how") == how:
            self.set(progress=50 if how == "stuck" else None)
            self.release.wait()
            if self.canceled:
                raise Fault("RequestCanceled")

    def cancel(self):
        self.canceled = True
        self.release.set()

    def end(self, state):
        self.ended = now()
        self.progress = 100 if state == "success" else None
        with self.vm.task_lock:
            self.vm.task = None
        self.set(state)


def start(world, rules, op, vm, user, work):
    """The new task's reference; TaskInProgress when the VM has one."""
    rule = rules.take("task", op, vm)
    with vm.task_lock:
        if vm.task:
            raise Fault("TaskInProgress", task=vm.task.ref())
        task = vm.task = Task(world, op, vm, user, work, rule)
        world.tasks[task.id] = task
    threading.Thread(target=task.run, daemon=True).start()
    return task.ref()


def manager_properties(world):
    def recent():
        return refs(t.ref() for t in list(world.tasks.values())[-20:])

    return {"recentTask": recent, "maxCollector": lambda: 32}
