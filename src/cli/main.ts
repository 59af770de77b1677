/**
 * The `almanac` command. Each command's module is imported when it runs, so that `--help` answers at once.
 * Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 gate failed, 4 rejected, 5 timed out, 130 interrupted.
 */
import { Argument, Command, CommanderError, Option } from 'commander';
import { ConfigurationError } from '../config/configuration-error.ts';
import { silenceSdkNodeWarning } from '../config/environment.ts';
import { CommandFailure, exitCode, note } from './output.ts';

silenceSdkNodeWarning();
// Whoever reads may have seen enough: `almanac versions churn | head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const program = new Command('almanac')
  .description('Durable batch machine learning on tabular data.')
  .version('0.1.0')
  .showHelpAfterError('(see --help)')
  .exitOverride();

/** A command that reads or changes a project. */
function projectCommand(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--project <folder>', 'the project (default: the current folder)')
    .option('--json', 'one JSON document on stdout, nothing else');
}

projectCommand('init', 'make a project and a model definition from a CSV, JSON-lines or Parquet file')
  .requiredOption('--from <file>', 'the file to import')
  .option('--label <column>', 'what the model predicts (default: inferred)')
  .option('--key <column>', 'what names a row (default: inferred, else its row number)')
  .option('--time <column>', 'when a row was true; gives the daily partitions (default: inferred)')
  .option('--model <name>', 'name of the model (default: the name of the file)')
  .option('--yes', 'never ask (also the behaviour without a terminal)')
  .action(async options => (await import('./import-table.ts')).init(options));

projectCommand('import', "add further files to a model's partitions")
  .argument('<files...>')
  .option('--model <name>')
  .action(async (files, options) => (await import('./import-table.ts')).importFiles(files, options));

projectCommand('validate', 'check definitions and their newest data, without a server')
  .argument('[model]')
  .action(async (model, options) => (await import('./validate.ts')).validate(model, options));

projectCommand('up', 'start what the project needs (Temporal server, workers) and keep it until Ctrl-C').action(
  async options => (await import('./up.ts')).up(options),
);

projectCommand('status', 'models, champions, what waits for approval, last job and decision').action(async options =>
  (await import('./show.ts')).status(options),
);

/** A read command about one model. */
function listCommand(name: string, description: string): Command {
  return projectCommand(name, description).argument('<model>').option('--limit <n>', 'newest entries shown', '50');
}

listCommand('versions', 'model versions with their metrics').action(async (model, options) =>
  (await import('./show.ts')).versions(model, options),
);
listCommand('runs', 'training runs')
  .option('--search <words>', 'words in id, trainer, trigger, parameters or metric names')
  .action(async (model, options) => (await import('./show.ts')).runs(model, options));
listCommand('evidence', 'what was judged; with a digest, its checks')
  .argument('[digest]')
  .option('--kind <kind>', 'data_validation, model_ci, evaluation, drift, labels, quality, …')
  .action(async (model, digest, options) => {
    const commands = await import('./show.ts');
    return digest === undefined ? commands.evidenceList(model, options) : commands.evidence(model, digest, options);
  });
listCommand('history', 'the deployment log: which version served when, and why').action(async (model, options) =>
  (await import('./show.ts')).history(model, options),
);
listCommand('promotions', 'requests to change a deployment').action(async (model, options) =>
  (await import('./show.ts')).promotions(model, options),
);
listCommand('jobs', 'scoring jobs').action(async (model, options) => (await import('./show.ts')).jobs(model, options));
listCommand('decisions', 'what the retraining policy concluded, and why').action(async (model, options) =>
  (await import('./show.ts')).decisions(model, options),
);

program
  .command('score-file')
  .description('score Parquet with an ONNX model, without server, store or definition')
  .argument('<model.onnx>')
  .argument('<input>', 'a file, a folder or a glob of Parquet, CSV or JSON lines, or a Delta table')
  .argument('<output folder>', 'appears whole or not at all')
  .requiredOption('--keys <columns>', 'copied to the output, comma-separated', list)
  .option('--features <columns>', 'feature columns in the order of training (default: the order of the file)', list)
  .option('--scorer <auto|onnxruntime>', 'auto compiles trees when they equal ONNX Runtime', 'auto')
  .option('--allow-brotli', 'read pages compressed with Brotli, which are refused otherwise')
  .option('--table-version <n>', 'version of a Delta table (default: the newest)', Number)
  .option('--profile', 'also profile inputs and predictions: profile.json, counted on the edges of baseline.json')
  .option('--baseline <file>', 'count the profile on these edges, those of another run (default: of the first rows)')
  .option('--processes <n>', 'engine children (default: one per core)', Number)
  .option('--batch-rows <n>', 'rows per call of the model (default: 2048, which fits the cache of a core)', Number)
  .addOption(new Option('--device <when>', 'use of a GPU').choices(['require', 'prefer', 'off']).default('off'))
  .addOption(new Option('--provider <name>', 'what --device means; webgpu is experimental').choices(['cuda', 'webgpu']))
  .option('--json', 'one JSON document on stdout, nothing else')
  .action(async (model, input, output, options) =>
    (await import('./score-file.ts')).scoreFile({ ...options, model, input, output }),
  );

projectCommand('doctor', 'what this machine has and lacks; `doctor gpu` looks at the GPU alone')
  .addArgument(new Argument('[part]').choices(['gpu']))
  .action(async (part, options) => {
    const commands = await import('./doctor.ts');
    return part === 'gpu' ? commands.doctorGpu(options) : commands.doctor(options);
  });

const table = program.command('table').description('the table of predictions');
function tableCommand(name: string, description: string): Command {
  return table
    .command(name)
    .description(description)
    .argument('<model>')
    .option('--project <folder>', 'the project (default: the current folder)')
    .option('--json', 'one JSON document on stdout, nothing else');
}
function ofVersion(command: Command): Command {
  return command
    .option('--version <n>', 'version of the table (default: the newest)')
    .option('--as-of <time>', 'the last version written by then')
    .option('--partition <date>');
}
tableCommand('history', 'its commits, oldest first')
  .option('--limit <n>', 'newest entries shown', '50')
  .action(async (model, options) => (await import('./table.ts')).history(model, options));
ofVersion(tableCommand('read', 'rows of a version'))
  .option('--limit <n>', 'rows shown', '20')
  .action(async (model, options) => (await import('./table.ts')).read(model, options));
ofVersion(tableCommand('export', 'copy the part files of a version into a new folder'))
  .argument('<folder>')
  .action(async (model, folder, options) => (await import('./table.ts')).exportTable(model, folder, options));

projectCommand('backtest', 'replay the retraining policy over the labelled history, against the calendar and chance')
  .argument('<model>')
  .option('--from <date>', 'first partition')
  .option('--to <date>', 'last partition')
  .option('--seed <n>', "for the random schedules and the shuffled copies (default: the definition's)")
  .action(async (model, options) => (await import('./backtest.ts')).backtest(model, options));

const quarantine = program.command('quarantine').description('rows that broke a rule of the contract');
quarantine
  .command('list')
  .description('partitions with quarantined rows, by rule; with --partition the rows')
  .argument('[model]')
  .option('--partition <date>')
  .option('--limit <n>', 'rows shown', '50')
  .option('--project <folder>', 'the project (default: the current folder)')
  .option('--json', 'one JSON document on stdout, nothing else')
  .action(async (model, options) => (await import('./quarantine.ts')).list(model, options));
quarantine
  .command('replay')
  .description('bring repaired rows back: the partition is scored as its next generation')
  .argument('<model>')
  .requiredOption('--partition <date>')
  .option(
    '--file <file>',
    "keys and repaired columns as CSV, JSON lines or Parquet (default: the partition's own files)",
  )
  .option('--detach', 'do not wait for its end')
  .option('--project <folder>', 'the project (default: the current folder)')
  .option('--json', 'one JSON document on stdout, nothing else')
  .action(async (model, options) => (await import('./quarantine.ts')).replay(model, options));

/** A command that starts a workflow. */
function startCommand(name: string, description: string): Command {
  return projectCommand(name, description).argument('<model>').option('--detach', 'do not wait for its end');
}

startCommand('train', 'train a version on the data there is, judge it, and ask for its promotion')
  .option('--as-of <date>', 'only what was known then (default: the day after the newest partition)')
  .action(async (model, options) => (await import('./start.ts')).train(model, options));
startCommand('promote', 'ask for the promotion of a version')
  .argument('<version>')
  .action(async (model, version, options) => (await import('./start.ts')).promote(model, version, options));
startCommand('score', 'score one partition')
  .requiredOption('--partition <date>')
  .option('--again', 'also when it is committed already: its next generation')
  .action(async (model, options) => (await import('./start.ts')).score(model, options));
startCommand('backfill', 'score past partitions as their next generations')
  .requiredOption('--from <date>')
  .requiredOption('--to <date>')
  .option('--id <name>', 'the same name twice is one backfill')
  .option('--parallelism <n>', 'partitions at once')
  .action(async (model, options) => (await import('./start.ts')).backfill(model, options));
startCommand('monitor', 'judge drift and quality as of a partition, and decide about retraining')
  .requiredOption('--partition <date>')
  .action(async (model, options) => (await import('./start.ts')).monitor(model, options));
startCommand('rollback', 'restore the champion before the present one')
  .option('--reason <text>')
  .option('--rescore', 'score the affected partitions again with the restored champion')
  .action(async (model, options) => (await import('./start.ts')).rollback(model, options));
startCommand('retain', 'delete superseded generations that retention gives up')
  .option('--date <date>', 'default: today')
  .action(async (model, options) => (await import('./start.ts')).retain(model, options));

projectCommand('erase', 'take a subject out of everything the store keeps, and prove it by a scan')
  .requiredOption('--key <key>', 'value of the key, or column=value,…')
  .option('--dry-run', 'only say what would be erased')
  .action(async options => (await import('./erase.ts')).erase(options));

program
  .command('audit')
  .description('the store, offline')
  .command('verify')
  .description('walk every chain and every digest; name the first byte that lies')
  .option('--project <folder>', 'the project (default: the current folder)')
  .option('--json', 'one JSON document on stdout, nothing else')
  .action(async options => (await import('./audit.ts')).auditVerify(options));

const schedules = program.command('schedules').description('the schedules that the definitions declare');
for (const verb of ['plan', 'apply'] as const) {
  schedules
    .command(verb)
    .description(verb === 'plan' ? 'what apply would change' : 'make the server match the definitions')
    .option('--project <folder>', 'the project (default: the current folder)')
    .option('--json', 'one JSON document on stdout, nothing else')
    .action(async options => (await import('./schedules.ts'))[verb](options));
}

for (const decision of ['approve', 'reject'] as const) {
  projectCommand(decision, `${decision} a promotion that waits`)
    .argument('<model>')
    .argument('[version]', 'default: the newest that waits')
    .option('--comment <text>')
    .option('--as <person>', 'answer under another name (not authenticated)')
    .action(async (model, version, options) => (await import('./decide.ts')).decide(decision, model, version, options));
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function list(text: string): readonly string[] {
  return text.split(',').map(item => item.trim());
}

/** One message for people on stderr; the exit code for scripts. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  if (error instanceof CommandFailure) {
    note(error.message);
    return error.code;
  }
  if (error instanceof ConfigurationError) {
    note(error.message);
    return exitCode.usage;
  }
  note(error instanceof Error ? error.message : String(error));
  return exitCode.failed;
}
