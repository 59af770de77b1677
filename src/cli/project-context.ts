/** What most commands need: the project of `--project` or the current folder, and its store when asked for. */
import { openProject, type Project } from '../config/project.ts';
import { Catalog } from '../storage/catalog.ts';
import { openStore } from '../storage/open.ts';
import { systemPorts } from '../storage/ports.ts';

export interface ProjectOptions {
  readonly project?: string;
  readonly json?: boolean;
}

export function projectOf(options: ProjectOptions): Project {
  return openProject(options.project ?? '.');
}

export function openCatalog(project: Project): Catalog {
  return new Catalog(systemPorts(openStore(project.store, project.s3)));
}
