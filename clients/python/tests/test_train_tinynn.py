"""Whole trainings on a freshly built tinynn, against a session in memory."""

import json
import sys
import unittest

import fake
import tools
from reproduceml_client import frameworks, train
from reproduceml_client.errors import JobError

USER_MODEL = '''
import reproduceml_client
import tinynn

class Wide(reproduceml_client.Model):
    def build(self, shape, classes):
        nn = tinynn.nn
        return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.LogSoftmax())

    def initialise(self, network):
        for parameter in network.parameters():
            parameter.value.zero_()
'''


@unittest.skipIf(tools.NO_COMPILER, "needs %s" % ", ".join(tools.NO_COMPILER))
class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, tools.tinynn_site())

    @classmethod
    def tearDownClass(cls):
        sys.path.remove(tools.tinynn_site())

    def run_job(self, **job):
        session = fake.Session(**job)
        train.Run(session).execute()
        return session

    def test_it_learns(self):
        session = self.run_job(train=600, test=200, side=16, epochs=8, momentum=0.9)
        self.assertGreater(session.accuracy("test"), 0.8)
        self.assertEqual([epoch[0] for epoch in session.epochs], list(range(9)))
        self.assertIsNone(session.epochs[0][1])
        self.assertLess(session.epochs[-1][1], session.epochs[1][1])

    def test_two_processes_give_the_same_digests(self):
        runs = [tools.train_in_a_process(tools.tinynn_site(), seed=5) for _ in range(2)]
        self.assertEqual(runs[0]["epochs"], runs[1]["epochs"])
        self.assertEqual(runs[0]["predicted"], runs[1]["predicted"])
        other = tools.train_in_a_process(tools.tinynn_site(), seed=6)
        self.assertNotEqual(runs[0]["epochs"][0][2], other["epochs"][0][2])

    def test_what_is_asked_of_the_server(self):
        session = self.run_job(validation=50)
        self.assertEqual(session.asked, ["train/x", "train/y", "validation/x", "test/x",
                                         "order/1", "order/2"])
        self.assertEqual(sorted(session.predicted), ["test", "validation"])
        self.assertLessEqual({"import", "data", "train", "predict", "total"},
                             set(session.timings))

    def test_the_last_batch_is_dropped_on_request(self):
        kept = self.run_job(trace=True, epochs=1).epochs[1][3]["batches"]
        dropped = self.run_job(trace=True, epochs=1, drop_last=True).epochs[1][3]["batches"]
        self.assertEqual((len(kept), len(dropped)), (4, 3))
        self.assertEqual(kept[:3], dropped)
        with self.assertRaisesRegex(JobError, "no full batch of 500"):
            self.run_job(batch_size=500, drop_last=True)

    def test_the_manifest_has_the_seven_factors(self):
        manifest = json.loads(json.dumps(self.run_job().told_manifest))
        self.assertLessEqual({"seeds", "model", "software", "threads", "runtime", "hardware",
                              "data", "controls", "artifact"}, set(manifest))
        self.assertEqual(manifest["artifact"]["framework"], {"tinynn": "0.2.0"})
        self.assertEqual(list(manifest["data"]["arrays"])[:2], ["train/x", "train/y"])
        self.assertTrue(manifest["seeds"]["generators"])

    def test_a_users_model(self):
        session = self.run_job(model="mine", model_source=USER_MODEL)
        self.assertEqual(session.told_manifest["model"]["class"], "Wide")
        with self.assertRaisesRegex(JobError, "no class Narrow"):
            self.run_job(model_source=USER_MODEL, model_class="Narrow")
        with self.assertRaisesRegex(JobError, "has 0 classes"):
            self.run_job(model_source="x = 1\n")

    def test_bad_jobs_are_refused(self):
        for job, expected in (
                ({"model": "lenet5"}, "there are mlp"), ({"framework": "abacus"}, "pytorch"),
                ({"device": "cuda"}, "runs on device cpu"), ({"device": "tpu"}, "cpu or cuda"),
                ({"batch_size": 0}, "batch_size is 0"), ({"splits": ["train"]}, "test")):
            with self.assertRaisesRegex(JobError, expected):
                self.run_job(**job)

    def test_the_frameworks_are_found(self):
        self.assertEqual(frameworks.names(), ["pytorch", "tinynn"])


if __name__ == "__main__":
    unittest.main()
